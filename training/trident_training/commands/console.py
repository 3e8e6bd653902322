"""How commands say things, and what they refuse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.markup import escape

from trident_training.finetune.folder import NoRoomError, is_for_want_of_room
from trident_training.finetune.processes import is_first

# Of processes that train together, the first one speaks; all say why they end.
console = Console(highlight=False, quiet=not is_first())
errors = Console(stderr=True, highlight=False)


@contextmanager
def reporting(command: str, *further: type[Exception]) -> Iterator[None]:
    """Say what a command refuses, or that it was interrupted, in one line; its exit codes are 1 and 130.

    A full disk is one line, whatever error a library has for it.

    Args:
        command: named in the line.
        further: errors beside ``ValueError`` and ``OSError`` that a user can mend.
    """
    try:
        yield
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except Exception as error:
        if not isinstance(error, (ValueError, OSError, *further)) and not is_for_want_of_room(error):
            raise
        refuse(command, reason_of(error))
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        errors.print("Interrupted. The same command goes on from the last saved step.")
        raise typer.Exit(130) from None


def reason_of(error: Exception) -> str:
    """Return what a user is told of an error."""
    file = isinstance(error, OSError) and (error.filename2 or error.filename)
    if is_for_want_of_room(error) and not isinstance(error, NoRoomError):
        return f"there is no room left to write{f' {file}' if file else ''}; make some, and give the same command again"
    return f"{file}: {error.strerror}" if isinstance(error, OSError) and file else str(error)


def done(text: str) -> None:
    """Say that something is done; the text is marked up."""
    console.print(f"[green]✓[/] {text}", soft_wrap=True)


def note(text: str) -> None:
    """Say what was noticed, and is no reason to stop."""
    console.print(f"[yellow]{escape(text)}[/]", soft_wrap=True)


def refuse(name: str, error: Exception | str) -> None:
    """Say why something is not done."""
    errors.print(f"[red]✗[/] {name}: {escape(str(error))}", soft_wrap=True)
