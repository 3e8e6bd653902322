"""The report: one HTML file that holds everything and asks no network for anything."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from trident_bench.load.plots import COLOURS, NAMES, draw
from trident_bench.load.summary import SweepSummary, facade_share
from trident_bench.load.sweep import Step
from trident_bench.report import figure


@dataclass(frozen=True)
class Report:
    """What the page tells.

    Attributes:
        sweeps: of all ensembles.
        failed: points that could not be measured.
        notes: what was left out, and why.
        settings: of the run, by what they are called.
        machine: facts of the machine.
        versions: of what was measured and what measured it.
        written: when, in UTC.
        multiple: of a lone request's median that p99 may be at the knee.
        interrupted: whether the run was.
    """

    sweeps: Sequence[SweepSummary]
    failed: Sequence[Step]
    notes: Sequence[str]
    settings: Mapping[str, str]
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    written: str
    multiple: float
    interrupted: bool


def draw_all(sweeps: Sequence[SweepSummary]) -> dict[str, bytes]:
    """Return a PNG for each ensemble."""
    return {name: draw(each) for name, each in _by_ensemble(sweeps).items()}


def write_page(report: Report, plots: Mapping[str, bytes]) -> str:
    """Return the page.

    Args:
        report: what it tells.
        plots: a PNG for each ensemble.
    """
    environment = Environment(
        loader=PackageLoader("trident_bench.load", "."),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": figure, "percent": lambda value: f"{value:.0%}"}
    return environment.get_template("page.html").render(
        report=report,
        ensembles=_by_ensemble(report.sweeps),
        plots={name: base64.b64encode(png).decode() for name, png in plots.items()},
        colours=COLOURS,
        names=NAMES,
        facade_share=facade_share,
    )


def _by_ensemble(sweeps: Sequence[SweepSummary]) -> dict[str, list[SweepSummary]]:
    found: dict[str, list[SweepSummary]] = {}
    for sweep in sweeps:
        found.setdefault(sweep.ensemble, []).append(sweep)
    return found
