"""Ends what writes files at any of its steps, as a killed process does or a full disk."""

import errno
import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Of Python's audit events those that come before a file system changes.
EVENTS = {"open", "os.chmod", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate"}
KILLED, FULL, PASSED_OVER = 71, 72, 73


def interrupt(work: Callable[[], object], folder: Path, step: int, how: str) -> bool:
    """Do some work in a process of its own, and say whether it came to a step, which did not happen.

    Args:
        work: what is done.
        folder: below it, each change of the file system is a step; a text is written in two.
        step: its number, from 0 on.
        how: ``killed``, at once, or ``full``, by one ``OSError``.
    """
    process = multiprocessing.get_context("fork").Process(target=_work, args=(work, folder, step, how))
    process.start()
    process.join(120)
    if process.exitcode not in {0, KILLED, FULL, PASSED_OVER}:
        raise AssertionError(f"it ended with {process.exitcode} at step {step}")
    return process.exitcode != 0


def contents(folder: Path) -> dict[str, str]:
    """Return the texts below a folder by their paths, but for those that nobody reads: in hidden folders."""
    found = {file.relative_to(folder): file for file in sorted(folder.rglob("*")) if file.is_file()}
    return {
        str(name): file.read_text("utf-8", "surrogateescape")
        for name, file in found.items()
        if not any(part.startswith(".") for part in name.parts[:-1])
    }


def _work(work: Callable[[], object], folder: Path, step: int, how: str) -> None:
    left, plain = step, Path.write_text

    def passes() -> None:
        nonlocal left
        left -= 1
        if left == -1:
            if how == "killed":
                os._exit(KILLED)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        # What is opened to be read changes nothing.
        is_change = event != "open" or bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))
        if event in EVENTS and is_change and str(arguments[0]).startswith(str(folder)):
            passes()

    def write_text(file: Path, data: str, *arguments: Any, **options: Any) -> int:
        if str(file).startswith(str(folder)):
            plain(file, data[: len(data) // 2], *arguments, **options)
            passes()
        return plain(file, data, *arguments, **options)

    sys.addaudithook(audit)
    Path.write_text = write_text  # type: ignore[method-assign]
    try:
        work()
    except OSError as error:
        # That of several files has texts alone.
        if left >= 0 or os.strerror(errno.ENOSPC) not in str(error):
            raise
        os._exit(FULL)
    os._exit(0 if left >= 0 else PASSED_OVER)
