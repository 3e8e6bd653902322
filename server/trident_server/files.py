"""What the file system refuses, in words for the person at the terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from trident_server.errors import FileError

ELSEWHERE = "; choose another directory with --cache-dir (TRIDENT_CACHE_DIR)"


@contextlib.contextmanager
def using(path: Path, advice: str = "") -> Iterator[None]:
    """Do what ``path`` is needed for.

    Args:
        path: what is named when the refusal itself names no file, as that of a full disk.
        advice: how the message ends.

    Raises:
        FileError: the file system refused it.
    """
    try:
        yield
    except OSError as error:
        # Where there are two names, as for a link, the second is what was to be made.
        file = error.filename2 or error.filename or path
        raise FileError(f"Cannot use {file}: {error.strerror or error}{advice}.") from error
