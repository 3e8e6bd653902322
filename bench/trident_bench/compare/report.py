"""The comparison as JSON, as Markdown and on the terminal, all of the same lines."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from trident_server.machine import Machine

from trident_bench.compare.cost import CostModel, Point
from trident_bench.compare.goals import Outcome
from trident_bench.compare.rounds import Results
from trident_bench.compare.rows import Group, Row
from trident_bench.compare.statistics import Spread

JSON_FILE, MARKDOWN_FILE = "comparison.json", "comparison.md"
HEADINGS = ("", "a second", "spread", "median ms", "p99 ms", "MB", "load's cores")
MARKS = {True: "yes", False: "no", None: "not measured"}


@dataclass(frozen=True)
class Comparison:
    """All that is reported.

    Attributes:
        results: of the rounds.
        outcomes: of the goals.
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
            "machine": machine(),
            "seconds": self.seconds,
            "threads": self.threads,
            "interrupted": self.results.interrupted,
            "rows": [self._row(row) for row in self.results.rows],
            "goals": [
                {
                    "title": each.title,
                    "bound": each.bound,
                    "at_least": each.at_least,
                    "found": each.found and each.found.as_dict(),
                    "met": each.met,
                }
                for each in self.outcomes
            ],
            "not_measured": self.results.failures,
            "least_cosines": self.results.cosines,
            "contenders": self.results.facts,
            "padding": self.padding,
            "cost": {"points": [asdict(each) for each in self.points], "model": self.cost and asdict(self.cost)},
        }

    def _row(self, row: Row) -> dict[str, Any]:
        samples = self.results.measured(row.name)
        return {
            "name": row.name,
            "title": row.title,
            "group": row.group.value,
            "unit": row.unit,
            "ours": row.ours,
            "rates": [None if each is None else each.rate for each in self.results.samples[row.name]],
            "rate": Spread.of([each.rate for each in samples]).as_dict() if samples else None,
            "median_ms": Spread.of([1000 * each.quantile(0.5) for each in samples]).as_dict() if samples else None,
            "p99_ms": Spread.of([1000 * each.quantile(0.99) for each in samples]).as_dict() if samples else None,
            "memory_bytes": self.results.memory.get(row.name),
            "generator_cores": Spread.of([each.generator for each in samples]).as_dict() if samples else None,
            "facts": [each.facts for each in samples if each.facts],
            "not_measured": self.results.failure(row),
        }


def machine() -> dict[str, Any]:
    """Return what decides how fast this machine is."""
    found = Machine()
    return {
        "processor": found.processor,
        "cores": found.cores,
        "bfloat16": list(found.bfloat16),
        "gpus": list(found.gpus),
        "load_average_at_the_end": os.getloadavg()[0],
        "torch": metadata.version("torch"),
        "python": platform.python_version(),
    }


def write(comparison: Comparison, folder: Path) -> list[Path]:
    """Write JSON and Markdown; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / JSON_FILE, folder / MARKDOWN_FILE]
    files[0].write_text(json.dumps(comparison.as_dict(), indent=1) + "\n")
    files[1].write_text(markdown(comparison), encoding="utf-8")
    return files


def show(comparison: Comparison, console: Console) -> None:
    """Print the tables."""
    for title, headings, lines in tables(comparison):
        table = Table(*headings, title=title, title_justify="left", title_style="bold")
        for column in table.columns[1:]:
            column.justify = "right"
        for cells in lines:
            table.add_row(*cells)
        console.print(table)
    for sentence in remarks(comparison):
        console.print(sentence, markup=False)


def markdown(comparison: Comparison) -> str:
    """Return the same as a Markdown page."""
    page = ["# Trident beside its peers", ""]
    for title, headings, lines in tables(comparison):
        page += [f"## {title}", "", _line(headings), _line(["---", *["---:"] * (len(headings) - 1)])]
        page += [*map(_line, lines), ""]
    return "\n".join([*page, *(f"- {sentence}" for sentence in remarks(comparison)), ""])


def tables(comparison: Comparison) -> list[tuple[str, Sequence[str], list[list[str]]]]:
    """Return title, headings and lines of every table: of the groups that were measured, then the goals."""
    results = comparison.results
    found: list[tuple[str, Sequence[str], list[list[str]]]] = []
    for group in Group:
        rows = [row for row in results.rows if row.group is group]
        if rows:
            found.append((group.value, HEADINGS, [_cells(row, results) for row in rows]))
    goals = [[each.title, _bound(each), _outcome(each), MARKS[each.met]] for each in comparison.outcomes]
    if any(each.found for each in comparison.outcomes):
        found.append(("What it must show", ("", "asked for", "median (lowest to highest)", "met"), goals))
    return found


def remarks(comparison: Comparison) -> list[str]:
    """Return in sentences what the tables do not hold."""
    facts = machine()
    said = [
        f"{facts['processor']}, {facts['cores']} cores, which servers and load share; everybody computes with "
        f"{comparison.threads} threads. {comparison.seconds:g} s a measurement, medians of interleaved rounds."
    ]
    if comparison.results.interrupted:
        said.append("Interrupted: what was measured until then.")
    said += [f"{name} was not measured: {reason}" for name, reason in comparison.results.failures.items()]
    padding = comparison.padding
    if padding and padding["real"]:
        shares = ", ".join(
            f"{title} {_share(padding[key], padding[real])}"
            for title, key, real in (
                ("linear layers", "linear", "real"),
                ("attention's tokens", "attention", "real"),
                ("attention's products", "products", "real_products"),
            )
        )
        said.append(f"Padding on mixed passages, as shares of what is computed: {shares}.")
    if comparison.cost is not None:
        cost = comparison.cost
        said.append(
            f"A batch costs {cost.call * 1e3:.2f} ms + {cost.token * 1e6:.2f} us a token + {cost.pair * 1e9:.2f} ns a "
            f"token and token of its sequence; off by {cost.error:.0%} at the median, {cost.worst:.0%} at most."
        )
    return said


def number(value: float) -> str:
    """Return a rate or a time with about three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _cells(row: Row, results: Results) -> list[str]:
    samples = results.measured(row.name)
    if not samples:
        return [row.title, "not measured", "", "", "", "", ""]
    rate = Spread.of([each.rate for each in samples])
    median, p99 = (Spread.of([1000 * each.quantile(share) for each in samples]).median for share in (0.5, 0.99))
    generator = Spread.of([each.generator for each in samples]).median
    return [
        row.title,
        number(rate.median),
        f"{number(rate.low)} to {number(rate.high)}",
        f"{median:,.1f}",
        f"{p99:,.1f}",
        f"{results.memory[row.name] / 1e6:,.0f}",
        f"{generator:.2f}" if generator else "",
    ]


def _bound(outcome: Outcome) -> str:
    return f"{'at least' if outcome.at_least else 'at most'} {outcome.bound:g}"


def _outcome(outcome: Outcome) -> str:
    if outcome.found is None:
        return ""
    return f"{outcome.found.median:.2f} ({outcome.found.low:.2f} to {outcome.found.high:.2f})"


def _share(computed: int | None, real: int | None) -> str:
    return f"{1 - real / computed:.1%}" if real and computed else "not counted"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
