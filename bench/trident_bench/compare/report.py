"""The report of a comparison: a table for each group of rows, the ratios, and one picture of all."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trident_bench.compare.ratios import Outcome
from trident_bench.compare.rounds import Results
from trident_bench.compare.rows import Group, Row
from trident_bench.drawing import CEILING, FAINT, OTHERS, OURS, bars, picture
from trident_bench.generator.loop import Sample
from trident_bench.machine import name_tag
from trident_bench.report import Report, Section, Spread, Table, figure

TITLE, PICTURE = "Trident beside its peers", "comparison.png"
HEADINGS = ("", "a second", "spread", "median ms", "p99 ms", "MB", "load's cores")
#: What a server is called where its protocol does not matter.
SERVERS = {"ensemble": "our ensemble", "facade": "our facade, and Triton with all three tasks"}
LEGEND = (("Trident", OURS), ("others", OTHERS), ("libtorch's products", CEILING))

Value = Callable[[Sample], float]
VALUES: dict[str, Value] = {
    "rate": lambda sample: sample.rate,
    "median_ms": lambda sample: 1000 * sample.quantile(0.5),
    "p99_ms": lambda sample: 1000 * sample.quantile(0.99),
    "generator_cores": lambda sample: sample.generator,
}


@dataclass(frozen=True)
class Comparison:
    """All that is reported.

    Attributes:
        results: of the rounds.
        outcomes: the ratios.
        seconds: of each measurement.
        threads: of everybody.
    """

    results: Results
    outcomes: Sequence[Outcome]
    seconds: float
    threads: int

    def spread(self, row: Row, value: str) -> Spread | None:
        """Return a row's spread of one of the :data:`VALUES`; None where it was not measured."""
        samples = self.results.measured(row.name)
        return Spread.of([VALUES[value](each) for each in samples]) if samples else None

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        return {
            "load_average_at_the_end": os.getloadavg()[0],
            "seconds": self.seconds,
            "threads": self.threads,
            "interrupted": self.results.interrupted,
            "rows": [self._row(row) for row in self.results.rows],
            "ratios": [asdict(each) for each in self.outcomes],
            "not_measured": self.results.failures,
            "least_cosines": self.results.cosines,
            "contenders": self.results.facts,
        }

    def _row(self, row: Row) -> dict[str, Any]:
        spreads = {name: self.spread(row, name) for name in VALUES}
        return {
            "name": row.name,
            "title": row.title,
            "group": row.group.value,
            "unit": row.unit,
            "ours": row.ours,
            "rates": [None if each is None else each.rate for each in self.results.samples[row.name]],
            **{name: spread and asdict(spread) for name, spread in spreads.items()},
            "memory_bytes": self.results.memory.get(row.name),
            "facts": [each.facts for each in self.results.measured(row.name) if each.facts],
            "not_measured": self.results.failure(row),
        }


def make_report(comparison: Comparison, folder: Path) -> Report:
    """Return the report; its picture is drawn into the folder."""
    results = comparison.results
    pictures = [PICTURE] if any(results.measured(row.name) for row in results.rows) else []
    if pictures:
        draw(comparison, folder / PICTURE)
    section = Section("Results", remarks(comparison), tables(comparison), pictures)
    return Report(TITLE, comparison.as_dict(), [section])


def tables(comparison: Comparison) -> list[Table]:
    """Return every table: of the groups that were measured, then the ratios."""
    rows = comparison.results.rows
    groups = {group: [_cells(row, comparison) for row in rows if row.group is group] for group in Group}
    found = [Table(group.value, HEADINGS, cells) for group, cells in groups.items() if cells]
    if any(each.found for each in comparison.outcomes):
        ratios = [[each.title, *_shown(each.found)] for each in comparison.outcomes]
        found.append(Table("Ratios, taken within each round", ("", "median", "spread"), ratios))
    return found


def remarks(comparison: Comparison) -> list[str]:
    """Return in sentences what the tables do not hold."""
    found = [
        f"{name_tag()}, which servers and load share; everybody computes with {comparison.threads} threads. "
        f"{comparison.seconds:g} s a measurement, medians of interleaved rounds."
    ]
    if comparison.results.interrupted:
        found.append("Interrupted: what was measured until then.")
    if cosines := comparison.results.cosines:
        least = ", ".join(f"{name} {cosine:.4f}" for name, cosine in cosines.items())
        found.append(f"Least cosine to the plain model's embeddings in float32: {least}.")
    return found + [f"{name} was not measured: {reason}" for name, reason in comparison.results.failures.items()]


def draw(comparison: Comparison, file: Path) -> None:
    """Draw everything as bars."""
    layout: list[Any] = [
        ["bare", "bare", "served", "served"],
        ["alone", "alone", "memory", "memory"],
        ["cola", "qa", "ratios", "ratios"],
        ["korean", "korean", "ratios", "ratios"],
    ]
    rounds = max((len(samples) for samples in comparison.results.samples.values()), default=0)
    with picture(file, 14, 15.5, TITLE) as canvas:
        caption = f"the same weights and sentences on {name_tag()}; bars: median of {rounds} rounds, whiskers: all"
        canvas.supxlabel(caption, x=0.01, ha="left", color=FAINT, fontsize=9.5)
        for place, (name, colour) in enumerate(LEGEND):
            canvas.text(0.7 + 0.09 * place, 0.991, f"■ {name}", color=colour, fontweight="bold", va="center")
        axes = canvas.subplot_mosaic(layout, height_ratios=(7, 4.2, 2.6, 2.6))
        for name, group, title, value, number_format in (
            ("bare", Group.BARE, "Without a server: sentences a second", "rate", "{:,.0f}"),
            ("served", Group.SERVED, "Served, 64 requests under way: sentences a second", "rate", "{:,.0f}"),
            ("alone", Group.ALONE, "One request at a time: median milliseconds", "median_ms", "{:,.1f}"),
            ("cola", Group.COLA, "Acceptability: sentences a second", "rate", "{:,.0f}"),
            ("qa", Group.QA, "Windows a second", "rate", "{:,.0f}"),
            ("korean", Group.KOREAN, "Korean: sentences a second", "rate", "{:,.0f}"),
        ):
            rows = [row for row in comparison.results.rows if row.group is group]
            lines = [(row.title, comparison.spread(row, value), _colour(row)) for row in rows]
            bars(axes[name], title, _best_first(lines, -1 if value == "rate" else 1), number_format)
        bars(axes["memory"], "Memory while it serves: MB", _best_first(_memory(comparison), 1))
        ratios = [(each.title, each.found, OURS) for each in comparison.outcomes if each.found is not None]
        bars(axes["ratios"], "Ratios, taken within each round", ratios, "{:,.2f}")


Line = tuple[str, Spread | None, str]


def _best_first(lines: list[Line], sign: int) -> list[Line]:
    return sorted(lines, key=lambda line: sign * line[1].median if line[1] else float("inf"))


def _memory(comparison: Comparison) -> list[Line]:
    # One server may be measured over several protocols.
    found: dict[str, Line] = {}
    for row in comparison.results.rows:
        name, size = row.contenders[-1].name, comparison.results.memory.get(row.name, 0) / 1e6
        before = found[name][1] if name in found else None
        if row.group is Group.SERVED and size > (before.high if before else 0):
            found[name] = (SERVERS.get(name, row.title), Spread.of([size]), _colour(row))
    return list(found.values())


def _colour(row: Row) -> str:
    if row.name.startswith("products"):
        return CEILING
    return OURS if row.ours else OTHERS


def _cells(row: Row, comparison: Comparison) -> list[str]:
    rate, median, p99, generator = (comparison.spread(row, name) for name in VALUES)
    if rate is None or median is None or p99 is None or generator is None:
        return [row.title, "not measured", *[""] * 5]
    memory = f"{comparison.results.memory[row.name] / 1e6:,.0f}"
    cores = f"{generator.median:.2f}" if generator.median else ""
    return [row.title, *_shown(rate), figure(median.median), figure(p99.median), memory, cores]


def _shown(spread: Spread | None) -> tuple[str, str]:
    if spread is None:
        return "not measured", ""
    return figure(spread.median), f"{figure(spread.low)} to {figure(spread.high)}"
