"""What every command writes and shows: tables for the terminal, Markdown and JSON, figures in three digits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import table as rich_table

#: What a repeated run would give again.
DIGITS = 3


@dataclass(frozen=True)
class Table:
    """A table; the columns are of figures but for the first ones.

    Attributes:
        title: above it.
        headings: of the columns.
        rows: their cells.
        words: how many columns are of words.
    """

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1

    def shown(self) -> rich_table.Table:
        """Return it for the terminal."""
        made = rich_table.Table(title=self.title, title_justify="left", title_style="bold", box=None, pad_edge=False)
        for place, heading in enumerate(self.headings):
            made.add_column(heading, justify="left" if place < self.words else "right")
        for cells in self.rows:
            made.add_row(*cells)
        return made

    def markdown(self) -> list[str]:
        """Return it as lines of Markdown."""
        bars = ["---" if place < self.words else "---:" for place in range(len(self.headings))]
        lines = [f"| {' | '.join(cells)} |" for cells in (self.headings, bars, *self.rows)]
        return [f"## {self.title}", "", *lines, ""]


def figure(value: float) -> str:
    """Return a number with three digits, and commas between thousands: 0.123, 1.23, 12.3, 123, 1,234."""
    if value == 0:
        return "0"
    if abs(value) >= 10 ** (DIGITS - 1):
        return f"{value:,.0f}"
    rounded = f"{value:.{DIGITS}g}"
    return rounded if "e" not in rounded else f"{value:.{DIGITS}f}"


def write_json(file: Path, content: Any) -> Path:
    """Write a value as JSON; returns the file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return file
