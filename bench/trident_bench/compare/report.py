"""The comparison as JSON, as Markdown and on the terminal, all of the same lines."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from trident_bench.compare.cost import CostModel, Point
from trident_bench.compare.ratios import Outcome, Spread
from trident_bench.compare.rounds import Results
from trident_bench.compare.rows import Group, Row
from trident_bench.machine import machine_facts, name_tag, versions
from trident_bench.report import Table, figure, write_json

JSON_FILE, MARKDOWN_FILE = "comparison.json", "comparison.md"
HEADINGS = ("", "a second", "spread", "median ms", "p99 ms", "MB", "load's cores")
#: What is counted of padding, and of what it is a share.
PADDING = (
    ("linear layers", "linear", "real"),
    ("attention's tokens", "attention", "real"),
    ("attention's products", "products", "real_products"),
)


@dataclass(frozen=True)
class Comparison:
    """All that is reported.

    Attributes:
        results: of the rounds.
        outcomes: the ratios.
        seconds: of each measurement.
        threads: of everybody.
        padding: what was counted of it, or None.
        points: of the cost's sweep.
        cost: the model of it, or None.
    """

    results: Results
    outcomes: Sequence[Outcome]
    seconds: float
    threads: int
    padding: dict[str, int | None] | None = None
    points: Sequence[Point] = ()
    cost: CostModel | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        return {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine_facts() | {"load average at the end": os.getloadavg()[0]},
            "versions": versions(),
            "seconds": self.seconds,
            "threads": self.threads,
            "interrupted": self.results.interrupted,
            "rows": [self._row(row) for row in self.results.rows],
            "ratios": [asdict(each) for each in self.outcomes],
            "not_measured": self.results.failures,
            "least_cosines": self.results.cosines,
            "contenders": self.results.facts,
            "padding": self.padding,
            "cost": {"points": [asdict(each) for each in self.points], "model": self.cost and asdict(self.cost)},
        }

    def _row(self, row: Row) -> dict[str, Any]:
        samples = self.results.measured(row.name)

        def spread(values: Sequence[float]) -> dict[str, float] | None:
            return asdict(Spread.of(values)) if values else None

        return {
            "name": row.name,
            "title": row.title,
            "group": row.group.value,
            "unit": row.unit,
            "ours": row.ours,
            "rates": [None if each is None else each.rate for each in self.results.samples[row.name]],
            "rate": spread([each.rate for each in samples]),
            "median_ms": spread([1000 * each.quantile(0.5) for each in samples]),
            "p99_ms": spread([1000 * each.quantile(0.99) for each in samples]),
            "memory_bytes": self.results.memory.get(row.name),
            "generator_cores": spread([each.generator for each in samples]),
            "facts": [each.facts for each in samples if each.facts],
            "not_measured": self.results.failure(row),
        }


def write(comparison: Comparison, folder: Path) -> list[Path]:
    """Write JSON and Markdown; returns the files."""
    page = folder / MARKDOWN_FILE
    files = [write_json(folder / JSON_FILE, comparison.as_dict()), page]
    page.write_text(markdown(comparison), encoding="utf-8")
    return files


def show(comparison: Comparison, console: Console) -> None:
    """Print the tables."""
    for table in tables(comparison):
        console.print(table.shown(), "")
    for sentence in remarks(comparison):
        console.print(sentence, markup=False)


def markdown(comparison: Comparison) -> str:
    """Return the same as a Markdown page."""
    lines = [line for table in tables(comparison) for line in table.markdown()]
    return "\n".join(["# Trident beside its peers", "", *lines, *(f"- {each}" for each in remarks(comparison)), ""])


def tables(comparison: Comparison) -> list[Table]:
    """Return every table: of the groups that were measured, then the ratios."""
    results = comparison.results
    groups = {group: [row for row in results.rows if row.group is group] for group in Group}
    found = [
        Table(group.value, HEADINGS, [_cells(row, results) for row in rows]) for group, rows in groups.items() if rows
    ]
    ratios = [(each.title, each.found) for each in comparison.outcomes]
    if any(spread for _, spread in ratios):
        rows = [[title, *(_spread(spread) if spread else ("not measured", ""))] for title, spread in ratios]
        found.append(Table("Ratios, taken within each round", ("", "median", "spread"), rows))
    return found


def remarks(comparison: Comparison) -> list[str]:
    """Return in sentences what the tables do not hold."""
    said = [
        f"{name_tag()}, which servers and load share; everybody computes with {comparison.threads} threads. "
        f"{comparison.seconds:g} s a measurement, medians of interleaved rounds."
    ]
    if comparison.results.interrupted:
        said.append("Interrupted: what was measured until then.")
    said += [f"{name} was not measured: {reason}" for name, reason in comparison.results.failures.items()]
    padding = comparison.padding
    if padding and padding["real"]:
        shares = ", ".join(f"{title} {_share(padding[key], padding[real])}" for title, key, real in PADDING)
        said.append(f"Padding on mixed passages, as shares of what is computed: {shares}.")
    if comparison.cost is not None:
        said.append(f"A batch costs {' '.join(str(comparison.cost).split())}.")
    return said


def _cells(row: Row, results: Results) -> list[str]:
    samples = results.measured(row.name)
    if not samples:
        return [row.title, "not measured", "", "", "", "", ""]
    rate = Spread.of([each.rate for each in samples])
    median, p99 = (Spread.of([1000 * each.quantile(share) for each in samples]).median for share in (0.5, 0.99))
    generator = Spread.of([each.generator for each in samples]).median
    held = f"{results.memory[row.name] / 1e6:,.0f}"
    return [row.title, *_spread(rate), figure(median), figure(p99), held, f"{generator:.2f}" if generator else ""]


def _spread(spread: Spread) -> tuple[str, str]:
    return figure(spread.median), f"{figure(spread.low)} to {figure(spread.high)}"


def _share(computed: int | None, real: int | None) -> str:
    return f"{1 - real / computed:.1%}" if real and computed else "not counted"
