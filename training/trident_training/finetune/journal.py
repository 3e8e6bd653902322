"""The file of a study that no database keeps: whole lines, though a disk was full or a process died."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock


class StudyFile(JournalFileBackend):
    """Optuna's file, without a last line that was not written to its end.

    Optuna would write the next line behind it, and read neither.

    Args:
        file: made when it is not there.

    Raises:
        ValueError: a line of it is no JSON.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(str(file))
        self._file, self._held = file, JournalFileSymlinkLock(str(file))
        # Of a last line that is none, Optuna waits for the rest.
        for number, line in enumerate(self._cut().splitlines(), 1):
            try:
                json.loads(line)
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write lines, or none of those that there is no room for."""
        try:
            super().append_logs(logs)
        except OSError:
            # Where there was no room for the lock either, nothing was written.
            with suppress(OSError):
                self._cut()
            raise

    def _cut(self) -> bytes:
        """Cut off what was not written to its end, and return the rest."""
        self._held.acquire()
        try:
            with self._file.open("rb+") as file:
                content = file.read()
                whole = content.rfind(b"\n") + 1
                if whole < len(content):
                    file.truncate(whole)
                return content[:whole]
        finally:
            self._held.release()
