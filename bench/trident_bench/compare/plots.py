"""The comparison as pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trident_bench.compare.cost import CostModel, Point
from trident_bench.compare.ratios import Spread
from trident_bench.compare.report import Comparison
from trident_bench.compare.rows import Group, Row
from trident_bench.drawing import CEILING, FAINT, OTHERS, OURS, bars, drawing
from trident_bench.generator.loop import Sample
from trident_bench.machine import name_tag

COMPARISON_FILE, COST_FILE = "comparison.png", "cost.png"
#: What a server is called where its protocol does not matter.
SERVERS = {"ensemble": "our ensemble", "facade": "our facade, and Triton with all three tasks"}
LEGEND = (("Trident", OURS), ("others", OTHERS), ("the ceiling", CEILING))

Line = tuple[str, tuple[float, float, float] | None, str]


def draw(comparison: Comparison, folder: Path) -> list[Path]:
    """Draw what there is to be seen; returns the PNG files."""
    files = []
    if any(comparison.results.measured(row.name) for row in comparison.results.rows):
        files.append(_comparison(comparison, folder / COMPARISON_FILE))
    if comparison.points:
        files.append(_cost(comparison.points, comparison.cost, folder / COST_FILE))
    return files


def _comparison(comparison: Comparison, file: Path) -> Path:
    places: list[Any] = [
        ["bare", "bare", "served", "served"],
        ["alone", "alone", "memory", "memory"],
        ["cola", "qa", "ratios", "ratios"],
    ]
    rounds = max((len(samples) for samples in comparison.results.samples.values()), default=0)
    rate: Callable[[Sample], float] = lambda sample: sample.rate  # noqa: E731
    milliseconds: Callable[[Sample], float] = lambda sample: 1000 * sample.quantile(0.5)  # noqa: E731
    with drawing(file, 14, 12.5, "Trident beside its peers") as figure:
        words = (
            f"the same weights and sentences on {name_tag()}; bars: median of {rounds} rounds, whiskers: all of them"
        )
        figure.supxlabel(words, x=0.01, ha="left", color=FAINT, fontsize=9.5)
        for place, (name, colour) in enumerate(reversed(LEGEND)):
            figure.text(0.975 - 0.095 * place, 0.978, f"■ {name}", color=colour, fontweight="bold", ha="right")
        axes = figure.subplot_mosaic(places, height_ratios=(5, 4.2, 4.4))
        for name, group, title, value in (
            ("bare", Group.BARE, "Without a server: sentences a second", rate),
            ("served", Group.SERVED, "Served, 64 requests under way: sentences a second", rate),
            ("alone", Group.ALONE, "One request at a time: median milliseconds", milliseconds),
            ("cola", Group.COLA, "Acceptability: sentences a second", rate),
            ("qa", Group.QA, "Reading: windows of 384 a second", rate),
        ):
            axes[name].set_title(title)
            lines = _lines(comparison, group, value, fewest_first=value is milliseconds)
            bars(axes[name], lines, "{:,.1f}" if value is milliseconds else "{:,.0f}")
        axes["memory"].set_title("Memory while it serves: MB")
        bars(axes["memory"], _memory(comparison))
        axes["ratios"].set_title("Ratios, taken within each round")
        found = [(each.title, each.found) for each in comparison.outcomes if each.found is not None]
        bars(axes["ratios"], [(title, (one.median, one.low, one.high), OURS) for title, one in found], "{:.2f}")
    return file


def _lines(comparison: Comparison, group: Group, value: Callable[[Sample], float], *, fewest_first: bool) -> list[Line]:
    """Return a group's rows, the best first and those that were not measured last."""
    found: list[Line] = []
    for row in (row for row in comparison.results.rows if row.group is group):
        samples = comparison.results.measured(row.name)
        spread = Spread.of([value(each) for each in samples]) if samples else None
        found.append((row.title, (spread.median, spread.low, spread.high) if spread else None, _colour(row)))
    last = float("inf")
    return sorted(found, key=lambda line: line[1][0] * (1 if fewest_first else -1) if line[1] else last)


def _memory(comparison: Comparison) -> list[Line]:
    # One server may be asked over several protocols.
    held: dict[str, tuple[float, Row]] = {}
    for row in comparison.results.rows:
        name, size = row.contenders[-1].name, comparison.results.memory.get(row.name)
        if row.group is Group.SERVED and size is not None:
            held[name] = (max(size / 1e6, held[name][0] if name in held else 0.0), row)
    servers = sorted(held.items(), key=lambda each: each[1][0])
    return [(SERVERS.get(name, row.title), (size, size, size), _colour(row)) for name, (size, row) in servers]


def _colour(row: Row) -> str:
    if row.name.startswith("products"):
        return CEILING
    return OURS if row.ours else OTHERS


def _cost(points: Sequence[Point], cost: CostModel | None, file: Path) -> Path:
    import matplotlib as mpl
    from matplotlib.ticker import FuncFormatter

    lengths = sorted({each.length for each in points})
    colours = mpl.colormaps["viridis"](np.linspace(0.05, 0.85, len(lengths)))
    with drawing(file, 14, 5.6, "What a batch costs the bare engine") as figure:
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        for colour, length in zip(colours, lengths, strict=True):
            line = sorted((each for each in points if each.length == length), key=lambda each: each.batch)
            batches = np.array([each.batch for each in line])
            left.plot(batches, [each.rate for each in line], "o-", color=colour, markersize=4.5)
            left.annotate(
                f"{length} tokens", (line[-1].batch, line[-1].rate), xytext=(8, 0), textcoords="offset points",
                color=colour, va="center", fontweight="bold",
            )  # fmt: skip
            right.plot(batches * length, [1e3 * each.seconds for each in line], "o", color=colour, ms=5)
            if cost is not None:
                batches = np.geomspace(line[0].batch, line[-1].batch, 50)
                modelled = np.array([cost.seconds(batch, length) for batch in batches])
                left.plot(batches, batches / modelled, "--", color=colour, linewidth=1, alpha=0.8)
                right.plot(batches * length, 1e3 * modelled, "--", color=colour, linewidth=1, alpha=0.8)
        left.set_title("Sequences a second by batch size: measured (dots) and modelled (dashes)")
        left.set(xlabel="sequences in the batch")
        left.set_xlim(right=2.6 * max(each.batch for each in points))
        right.set(xlabel="tokens in the batch", ylabel="milliseconds a batch")
        right.set_title("Milliseconds by tokens")
        for axes, digits in ((left, "{:,.0f}"), (right, "{:,g}")):
            axes.set(xscale="log", yscale="log")
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(FuncFormatter(lambda value, _, digits=digits: digits.format(value)))
        if cost is not None:
            right.text(0.04, 0.96, str(cost), transform=right.transAxes, va="top", linespacing=1.5)
    return file
