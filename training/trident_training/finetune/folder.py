"""A run's folder: one process at a time writes there, and one line says that there is no room for more."""

from __future__ import annotations

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from trident_training.finetune.settings import SettingsError

LOCK = ".lock"
#: The operating system's numbers of it.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
#: What libraries say that write files themselves. One has the operating system's number in its text; torch's writer
#: says no more than that it could not write, or that it is not where it should have come to.
FULL = (
    "No space left on device",
    "Disk quota exceeded",
    *(f"os error {number}" for number in NO_ROOM),
    "PytorchStreamWriter failed",
    "unexpected pos",
    "basic_ios::clear",
    "database or disk is full",
)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder, made when it is not there; the hold goes with the process.

    Raises:
        SettingsError: another process holds it, or it cannot be written.
    """
    with _lock(folder) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SettingsError(
                f"another process trains in {folder}; wait for it, or choose another output folder"
            ) from error
        yield


@contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """Hold a folder, once no other process does that ends at the same time.

    Raises:
        SettingsError: it cannot be written.
    """
    with _lock(folder) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def check_writable(folder: Path) -> None:
    """Make a folder when it is not there, and find that it can be written.

    Raises:
        SettingsError: it cannot.
    """
    _lock(folder).close()


def _lock(folder: Path) -> IO[str]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return (folder / LOCK).open("w")
    except OSError as error:
        raise SettingsError(f"{folder} cannot be written: {error.strerror}; choose another output folder") from error


def is_for_want_of_room(error: BaseException | None) -> bool:
    """Say whether an error, or one that it came of or came after, is that of a full disk."""
    while error is not None:
        if (isinstance(error, OSError) and error.errno in NO_ROOM) or any(said in str(error) for said in FULL):
            return True
        error = error.__cause__ or error.__context__
    return False


class NoRoomError(SettingsError):
    """There is no room left; the text says in which folder."""


@contextmanager
def reporting_a_full_disk(folder: Path) -> Iterator[None]:
    """Say of whatever fails for want of room that this is why.

    Raises:
        NoRoomError: there was no room left.
    """
    try:
        yield
    except Exception as error:
        if not is_for_want_of_room(error):
            raise
        raise NoRoomError(
            f"there is no room left to write in {folder}; make some, and the same command goes on from the last saved "
            "step"
        ) from error
