"""What is said where a package is missing, or is there and cannot be used: the command that mends it."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata

#: Holds what it installs to what Triton's packages take; its extras of the client's names bring the same.
WHOLE = "trident-nlp"
CLIENT = "trident-client"
#: What may be there and ask for a newer numpy than is, of which pip is told nothing; and the releases that do not.
OLDER = {"pyarrow": "pyarrow<26"}


def requirement(*extras: str) -> str:
    """Return what pip is asked for to have extras of the client, such as ``cli``, beside what is installed."""
    try:
        metadata.version(WHOLE)
    except metadata.PackageNotFoundError:
        return f"{CLIENT}[{','.join(extras)}]"
    return f"{WHOLE}[{','.join(extras)}]"


@contextmanager
def needing(user: str, *extras: str) -> Iterator[None]:
    """Say of what is imported within which extras bring it.

    Raises:
        ImportError: a package is missing, or cannot be used.
    """
    try:
        yield
    except ImportError as error:
        if (line := lack(user, error, requirement(*extras))) is None:
            raise
        raise type(error)(line, name=error.name, path=error.path) from None


def lack(user: str, error: ImportError, wanted: str) -> str | None:
    """Return a line that says why an import failed and what mends it; None where it is to be seen whole.

    Args:
        user: what needs the package.
        error: of the import.
        wanted: what pip is asked for to have all that the user needs.
    """
    name = _package(error)
    # One of ours that is missing is a fault.
    if not name or name.startswith("trident_"):
        return None
    if isinstance(error, ModuleNotFoundError):
        return f"{user} needs the package {name}, which is not installed: pip install '{wanted}'"
    if name in OLDER:
        return (
            f"{user} cannot use the package {name} that is installed ({error}): pip install '{wanted}' '{OLDER[name]}'"
        )
    return None


def _package(error: ImportError) -> str:
    """Return the package that is missing, or else the one whose code failed: not every error names it."""
    name = error.name
    if name is None and not isinstance(error, ModuleNotFoundError):
        for frame, _ in traceback.walk_tb(error.__traceback__):
            name = frame.f_globals.get("__name__")
    return (name or "").partition(".")[0]
