"""What the commands share: progress, reports, refusals in one line, exit codes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from trident_server.errors import ServerError

from trident_bench.errors import BenchError
from trident_bench.report import Report

INTERRUPTED = 130
#: A log has no width of its own, and tables want more than the default.
LOG_WIDTH = 130

out = Console(highlight=False)
errors = Console(stderr=True, highlight=False)
if not out.is_terminal:
    out.width = max(out.width, LOG_WIDTH)


def progress() -> Progress:
    """Return a bar with the time that is left, on standard error; drawn once a second, for it shares the cores."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=errors,
        refresh_per_second=1,
    )


def publish(report: Report, folder: Path) -> None:
    """Write a report into a folder, print it, and name its files."""
    files = report.write(folder)
    report.show(out)
    out.print(", ".join(map(str, files)), markup=False, soft_wrap=True)


@contextmanager
def reporting(command: str, interrupted: str = "Nothing was written.") -> Iterator[None]:
    """Say what a command refuses, or that it was interrupted, in one line; its exit codes are 1 and 130.

    SIGTERM counts as Ctrl-C: servers are stopped, and what was measured is written.

    Args:
        command: its name, which begins the line.
        interrupted: said beside that it was.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except (BenchError, ServerError, OSError) as error:
        errors.print(f"[red]✗[/] {command}: {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        errors.print(f"Interrupted. {interrupted}", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, before)
