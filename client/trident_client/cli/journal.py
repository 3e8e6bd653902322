"""What was answered so far of a file, beside its output, so that an interrupted run can go on.

``<output>.partial`` is JSON lines: first what the run was given, then one line for each row in the input's order. A
line that was cut by a kill is taken off. The output is made of it when the last row is answered.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from trident_client.cli.failures import UsageError

Outcome = tuple[dict[str, Any] | None, str | None]
FLUSH_SECONDS = 0.5
#: What an embedding's numbers may be, little-endian.
ARRAYS = {"float32": "<f4", "int8": "i1", "uint8": "u1"}


class Journal:
    """The rows that are done.

    Args:
        output: the file that it stands for.
        run: what the run was given; another run's rows are not taken up.
        resume: go on with what is there; otherwise begin anew.

    Raises:
        UsageError: what is there is another run's, another process writes it, or it cannot be written.
    """

    def __init__(self, output: Path, run: dict[str, Any], *, resume: bool) -> None:
        self.path = output.with_name(f"{output.name}.partial")
        try:
            # Whose it is shows when it is locked; until then nothing of it is touched.
            self._file = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        except OSError as error:
            raise UsageError(f"{self.path} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise UsageError(f"another process writes {self.path}") from None
        if not resume:
            self._file.truncate(0)
        self.count = self._resume(run)
        self._flushed_at = time.monotonic()

    def __enter__(self) -> Journal:
        """Return the journal; leaving keeps it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what is left."""
        self._file.close()

    def add(self, result: dict[str, Any] | None, problem: str | None) -> None:
        """Add the next row's outcome."""
        self._file.write(json.dumps([result, problem], default=_encode).encode() + b"\n")
        self.count += 1
        if time.monotonic() - self._flushed_at > FLUSH_SECONDS:
            self._file.flush()
            self._flushed_at = time.monotonic()

    def outcomes(self) -> Iterator[Outcome]:
        """Yield every row's outcome, from the first."""
        self._file.flush()
        with self.path.open("rb") as file:
            next(file)
            for line in file:
                result, problem = json.loads(line, object_hook=_decode)
                yield result, problem

    def remove(self) -> None:
        """Remove it: the output is there."""
        self.path.unlink()

    def _resume(self, run: dict[str, Any]) -> int:
        lines, end = 0, 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            if lines == 0:
                self._check(line, run)
            lines, end = lines + 1, end + len(line)
        self._file.seek(end)
        self._file.truncate()
        if lines == 0:
            self._file.write(json.dumps(run).encode() + b"\n")
            self._file.flush()
            return 0
        return lines - 1

    def _check(self, line: bytes, run: dict[str, Any]) -> None:
        try:
            recorded = json.loads(line)
        except ValueError:
            recorded = {}
        changed = [name for name in run if recorded.get(name) != run[name]]
        if changed:
            raise UsageError(
                f"{self.path} belongs to a run with another {' and '.join(changed)}; "
                "resume with what that run was given, or run without --resume to begin anew"
            )


def _encode(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        name = value.dtype.name
        return {name: base64.b64encode(value.astype(ARRAYS[name]).tobytes()).decode()}
    raise TypeError(f"cannot write {type(value).__name__}")


def _decode(value: dict[str, Any]) -> Any:
    if len(value) == 1 and (name := next(iter(value))) in ARRAYS:
        return np.frombuffer(base64.b64decode(value[name]), ARRAYS[name])
    return value
