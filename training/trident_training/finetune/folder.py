"""A run's folder: one process at a time writes there, and one line says that there is no room for more."""

from __future__ import annotations

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trident_training.finetune.settings import SettingsError

LOCK = ".lock"
#: What libraries say that write files themselves; the operating system's own number is in the text of one of them.
FULL = ("No space left on device", f"os error {errno.ENOSPC}", "Disk quota exceeded", "PytorchStreamWriter failed")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder, made when it is not there; the hold goes with the process.

    Raises:
        SettingsError: another process holds it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("w")
    except OSError as error:
        raise SettingsError(f"{folder} cannot be written: {error.strerror}; choose another output folder") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SettingsError(
                f"another process trains in {folder}; wait for it, or choose another output folder"
            ) from error
        yield


@contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """Hold a folder, once no other process does that ends at the same time."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def reporting_a_full_disk(folder: Path) -> Iterator[None]:
    """Say of whatever fails for want of room that this is why.

    Raises:
        SettingsError: there was no room left.
    """
    try:
        yield
    except Exception as error:
        if not any(said in str(error) for said in FULL):
            raise
        raise SettingsError(
            f"there is no room left to write in {folder}; make some, and the same command goes on from the last saved "
            "step"
        ) from error
