"""How the commands speak: progress, refusals in one line, exit codes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from trident_bench.errors import BenchError

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def progress() -> Progress:
    """Return a bar with the time that is left, on standard error."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=errors,
    )


@contextmanager
def reporting(command: str, interrupted: str = "Nothing was written.") -> Iterator[None]:
    """Say what a command refuses, or that it was interrupted, in one line; its exit codes are 1 and 130.

    Args:
        command: named in the line.
        interrupted: what is said beside that it was.
    """
    try:
        yield
    except BenchError as error:
        errors.print(f"[red]✗[/] {command}: {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        errors.print(f"Interrupted. {interrupted}", soft_wrap=True)
        raise typer.Exit(130) from None
