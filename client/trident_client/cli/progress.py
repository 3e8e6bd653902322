"""What is said on standard error while rows are answered, and afterwards."""

from __future__ import annotations

import resource
import time
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from trident_client.cli.places import Place
from trident_client.cli.processing import Report
from trident_client.cli.readers import Row

REPORT_INTERVAL = 10.0
MAX_SHOWN = 20


class _RowsColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.fields['rows']:,} rows, {task.fields['rate']:,.0f} rows/s")


class Measured(Protocol):
    """What knows how much of it is done, such as a file that is read."""

    def fraction_read(self) -> float | None:
        """Return that, 0 to 1; None where it is not known."""


class ProgressReport:
    """Tells of rows as they are done.

    On a terminal a bar with the rate and the time left; elsewhere a line now and then. Bad rows are told at once, up to
    a number of them.

    Args:
        console: standard error.
        source: the file or files, which say how much is done; None where it is not known.
        quiet: tell of bad rows only.
    """

    def __init__(self, console: Console, source: Measured | None, *, quiet: bool) -> None:
        self._console, self._source, self._quiet = console, source, quiet
        self._started = self._reported_at = self._drawn_at = time.monotonic()
        self._rows = self._bad = 0
        columns = (SpinnerColumn(), BarColumn(), _RowsColumn(), TextColumn("left"), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal)
        self._bar = self._progress.add_task("", total=1.0 if source else None, rows=0, rate=0.0)

    def __enter__(self) -> ProgressReport:
        """Show the bar."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        self._progress.stop()

    def row(self, row: Row, problem: str | None) -> None:
        """Count a row, and tell of its problem."""
        self._rows += 1
        if problem is not None:
            self._bad += 1
            if self._bad <= MAX_SHOWN:
                self._print(f"row {row.number}: {problem}", "yellow")
            elif self._bad == MAX_SHOWN + 1:
                self._print("further bad rows are counted, not shown; each has its error in the output", "yellow")
        self._draw()

    def count(self, rows: int) -> None:
        """Say how many rows of many files are done."""
        self._rows = rows
        self._draw()

    def note(self, text: str) -> None:
        """Tell something."""
        if not self._quiet:
            self._print(text)

    def file(self, path: Place, report: Report) -> None:
        """Tell what became of one file's rows."""
        self._tell_of_texts(report, f"{path}: ")
        if report.bad:
            self._print(f"{path}: {report.bad:,} of {report.rows + report.resumed:,} rows are bad", "yellow")

    def _tell_of_texts(self, report: Report, where: str = "") -> None:
        for what, count, first in (
            ("longer than the model takes, and cut", report.truncated, report.truncated_rows),
            ("with words or symbols that the model's vocabulary cannot read", report.unknown, report.unknown_rows),
        ):
            if count:
                rows = ", ".join(map(str, first)) + (", ..." if count > len(first) else "")
                self._print(f"{where}{what}: rows {rows}", "yellow")

    def end(self, report: Report) -> None:
        """Tell what became of the rows."""
        seconds = max(time.monotonic() - self._started, 1e-9)
        self._tell_of_texts(report)
        if self._quiet:
            return
        resumed = f", {report.resumed:,} from before" if report.resumed else ""
        bad = f", {report.bad:,} bad" if report.bad else ""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self._print(
            f"{report.rows:,} rows in {seconds:.1f} s, {report.rows / seconds:,.0f} rows/s{resumed}{bad}; "
            f"peak memory {peak:,.0f} MB"
        )

    def _draw(self) -> None:
        now = time.monotonic()
        if not self._quiet and now - self._drawn_at > 0.2:
            self._drawn_at = now
            self._update(now)

    def _update(self, now: float) -> None:
        rate = self._rows / (now - self._started)
        fraction = self._source.fraction_read() if self._source else None
        self._progress.update(self._bar, completed=fraction or 0.0, rows=self._rows, rate=rate)
        if not self._console.is_terminal and now - self._reported_at > REPORT_INTERVAL:
            self._reported_at = now
            remaining = f", {(now - self._started) * (1 - fraction) / fraction:,.0f} s left" if fraction else ""
            self._print(f"{self._rows:,} rows, {rate:,.0f} rows/s{remaining}")

    def _print(self, text: str, style: str | None = None) -> None:
        self._progress.console.print(text, style=style, markup=False)
