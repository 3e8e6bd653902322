"""The report of every command: JSON, Markdown, one HTML file without network, and tables on the terminal."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from markdown_it import MarkdownIt
from rich import table as rich_table
from rich.console import Console

from trident_bench.machine import machine_facts, versions

JSON_FILE, MARKDOWN_FILE, HTML_FILE = "results.json", "report.md", "report.html"
#: What a repeated run would give again.
DIGITS = 3
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
body {{ max-width: 64rem; margin: 0 auto; padding: 1rem; font: 16px/1.5 system-ui, sans-serif; color: #1e293b; }}
table {{ display: block; overflow-x: auto; border-collapse: collapse; font-size: .875rem; }}
th, td {{ padding: .3rem .5rem; border-bottom: 1px solid #e2e8f0; white-space: nowrap; }}
img {{ max-width: 100%; height: auto; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""


@dataclass(frozen=True)
class Spread:
    """Several rounds' values in three numbers."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of at least one value.

        Raises:
            ValueError: there is none.
        """
        if not values:
            raise ValueError("a spread needs at least one value")
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True)
class Table:
    """A table; its columns hold figures but for the first ones.

    Attributes:
        title: above it.
        headings: of the columns.
        rows: their cells.
        text_columns: how many columns hold text.
    """

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1

    def rich(self) -> rich_table.Table:
        """Return it for the terminal."""
        made = rich_table.Table(title=self.title, title_justify="left", title_style="bold", box=None, pad_edge=False)
        for number, heading in enumerate(self.headings):
            made.add_column(heading, justify="left" if number < self.text_columns else "right")
        for cells in self.rows:
            made.add_row(*cells)
        return made

    def markdown(self) -> list[str]:
        """Return it as lines of Markdown."""
        bars = ["---" if number < self.text_columns else "---:" for number in range(len(self.headings))]
        return [f"### {self.title}", "", *(f"| {' | '.join(row)} |" for row in (self.headings, bars, *self.rows)), ""]


@dataclass(frozen=True)
class Section:
    """A part of a report: its pictures (PNG files in the report's folder), its remarks and its tables, in that order.

    Attributes:
        title: above it.
        remarks: sentences.
        tables: shown on the terminal, too.
        pictures: names of files.
        details: tables for the files alone.
    """

    title: str
    remarks: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[str] = ()
    details: Sequence[Table] = ()

    def markdown(self) -> list[str]:
        """Return it as lines of Markdown."""
        lines = [f"## {self.title}", ""]
        lines += [line for file in self.pictures for line in (f"![{self.title}]({file})", "")]
        lines += [*(f"- {each}" for each in self.remarks), ""]
        return lines + [line for table in (*self.tables, *self.details) for line in table.markdown()]


@dataclass(frozen=True)
class Report:
    """What a command found.

    Attributes:
        title: of the page.
        results: what :data:`JSON_FILE` holds, beside date, machine and versions.
        sections: of the page.
        settings: of the run, by name; the page shows them beside machine and versions.
    """

    title: str
    results: Mapping[str, Any]
    sections: Sequence[Section]
    settings: Mapping[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> list[Path]:
        """Write JSON, Markdown and HTML into the folder that the pictures are in; return the files."""
        date, machine, packages = datetime.now(UTC).isoformat(timespec="seconds"), machine_facts(), versions()
        facts = [f"{name}: {value}" for each in (machine, packages, self.settings) for name, value in each.items()]
        sections = [*self.sections, Section("Machine, versions and settings", [f"measured: {date}", *facts])]
        text = "\n".join([f"# {self.title}", "", *(line for each in sections for line in each.markdown())])
        content = {"date": date, "machine": machine, "versions": packages, **self.results}
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / name for name in (JSON_FILE, MARKDOWN_FILE, HTML_FILE)]
        written = (json.dumps(content, indent=1, ensure_ascii=False) + "\n", text, self._page(text, folder))
        for file, content_ in zip(files, written, strict=True):
            file.write_text(content_, "utf-8")
        return files

    def show(self, console: Console) -> None:
        """Print tables and remarks."""
        for section in self.sections:
            for table in section.tables:
                console.print(table.rich(), "")
            for remark in section.remarks:
                console.print(remark, markup=False, soft_wrap=True)

    def _page(self, text: str, folder: Path) -> str:
        body = str(MarkdownIt("commonmark", {"html": False}).enable("table").render(text))
        for name in self._pictures():
            content = base64.b64encode((folder / name).read_bytes()).decode()
            body = body.replace(f'src="{name}"', f'src="data:image/png;base64,{content}"')
        return PAGE.format(title=self.title, body=body)

    def _pictures(self) -> Iterable[str]:
        return (name for section in self.sections for name in section.pictures)


def figure(value: float) -> str:
    """Return a number with three digits, and commas between thousands: 0.123, 1.23, 12.3, 123, 1,234."""
    if value == 0:
        return "0"
    if abs(value) >= 10 ** (DIGITS - 1):
        return f"{value:,.0f}"
    rounded = f"{value:.{DIGITS}g}"
    return rounded if "e" not in rounded else f"{value:.{DIGITS}f}"
