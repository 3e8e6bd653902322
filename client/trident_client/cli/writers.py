"""Answered rows to a file or a pipe, one after the other; a file appears under its name only when it is complete."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np

from trident_client._names import ERROR, unused_name
from trident_client.cli.failures import UsageError

if TYPE_CHECKING:
    import pyarrow as pa


class Writer(Protocol):
    """Takes rows in their order."""

    def write(self, values: Mapping[str, Any], result: Mapping[str, Any] | None, problem: str | None) -> None:
        """Write a row's own columns, and its answer or its problem."""

    def close(self) -> None:
        """Write what is left."""


class JsonWriter:
    """JSON lines, or one JSON list."""

    def __init__(self, stream: IO[bytes], names: Mapping[str, str], *, as_list: bool = False) -> None:
        # A lone surrogate stands for a byte that was not UTF-8, and is written as JSON's escape for it.
        self._text = io.TextIOWrapper(
            io.BufferedWriter(_NonClosing(stream)), "utf-8", errors="backslashreplace", newline="\n"
        )
        self._names = names
        self._list = as_list
        self._count = 0

    def write(self, values: Mapping[str, Any], result: Mapping[str, Any] | None, problem: str | None) -> None:
        """Write one object."""
        row = dict(values)
        for name, value in [*(result or {}).items(), *([] if problem is None else [(ERROR, problem)])]:
            # A row may have columns that the rows before it had not.
            row[unused_name(self._names[name], values)] = plain(value)
        if self._list:
            self._text.write(",\n" if self._count else "[\n")
        self._text.write(as_json(row) + ("" if self._list else "\n"))
        self._count += 1

    def flush(self) -> None:
        """Hand on what was written."""
        self._text.flush()

    def close(self) -> None:
        """End the list."""
        if self._list:
            self._text.write("\n]\n" if self._count else "[]\n")
        self._text.flush()


class CsvWriter:
    """A header and a record for each row, as RFC 4180 has them; lists stand in their cells as JSON."""

    csv_options: Mapping[str, Any] = {"dialect": "excel"}

    def __init__(self, stream: IO[bytes], columns: list[str], results: list[str], names: Mapping[str, str]) -> None:
        self._text = io.TextIOWrapper(
            io.BufferedWriter(_NonClosing(stream)), "utf-8", errors="backslashreplace", newline=""
        )
        self._columns, self._results = columns, results
        self._csv = csv.writer(self._text, **self.csv_options)
        self._write([*columns, *(names[each] for each in (*results, ERROR))])

    def write(self, values: Mapping[str, Any], result: Mapping[str, Any] | None, problem: str | None) -> None:
        """Write one record."""
        own = [values.get(column) for column in self._columns]
        self._write([*own, *((result or {}).get(name) for name in self._results), problem])

    def _write(self, cells: list[Any]) -> None:
        self._csv.writerow([self.cell(each) for each in cells])

    @staticmethod
    def cell(value: Any) -> Any:
        """Return what stands in a value's cell."""
        value = plain(value)
        return as_json(value) if isinstance(value, list | dict) else value

    def close(self) -> None:
        """Write what is left."""
        self._text.flush()


class TsvWriter(CsvWriter):
    r"""A header and a line for each row; tabs and line ends within a text are written as ``\t``, ``\n`` and ``\r``."""

    csv_options: Mapping[str, Any] = {
        "delimiter": "\t",
        "quoting": csv.QUOTE_NONE,
        "quotechar": None,
        "lineterminator": "\n",
    }
    _ESCAPES = str.maketrans({"\t": r"\t", "\n": r"\n", "\r": r"\r"})

    @staticmethod
    def cell(value: Any) -> Any:
        """Return what stands in a value's cell."""
        value = CsvWriter.cell(value)
        return value.translate(TsvWriter._ESCAPES) if isinstance(value, str) else value


class OutputFile:
    """A file that is written beside its name and takes the name when it is complete."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.tmp")

    def __enter__(self) -> IO[bytes]:
        """Open it."""
        try:
            self._stream = self._temporary.open("wb")
        except OSError as error:
            raise UsageError(f"{self._path} cannot be written: {error.strerror}") from error
        return self._stream

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give it its name, or remove it where something failed."""
        self._stream.close()
        if kind is None:
            self._temporary.replace(self._path)
        else:
            self._temporary.unlink(missing_ok=True)


def make_writer(
    stream: IO[bytes], kind: str, columns: list[str], results: Mapping[str, str], schema: pa.Schema | None
) -> Writer:
    """Return the writer of a format.

    Args:
        stream: where to; left open.
        kind: of :data:`~trident_client.cli.readers.ENDINGS`.
        columns: the rows' own columns.
        results: the answers' fields and their types.
        schema: Arrow types of the rows' own columns, where they have any.
    """
    # A column of the input keeps its name, and the answer's field of the same name takes another.
    names = {name: unused_name(name, columns) for name in (*results, ERROR)}
    if kind == "parquet":
        # Who writes none need not have pyarrow.
        from trident_client.cli.parquet import ParquetWriter

        return ParquetWriter(stream, columns, results, names, schema)
    if kind in {"csv", "tsv"}:
        return (CsvWriter if kind == "csv" else TsvWriter)(stream, columns, list(results), names)
    return JsonWriter(stream, names, as_list=kind == "json")


def plain(value: Any) -> Any:
    """Return an embedding as the shortest numbers that are the same in float32, and a value of Arrow's as text."""
    if hasattr(value, "as_py"):
        return value.cast("string").as_py()
    if not isinstance(value, np.ndarray):
        return value
    return [float(str(each)) for each in value] if value.dtype == np.float32 else value.tolist()


def as_json(value: Any) -> str:
    """Return JSON that strict readers take: what is no number, or infinite, is null."""
    try:
        return json.dumps(value, ensure_ascii=False, default=_default, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=False, default=_default)


def _default(value: Any) -> Any:
    text = plain(value)
    return text if isinstance(text, str) else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class _NonClosing(io.RawIOBase):
    """Writes to a stream that somebody else closes."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        # After a failure the stream is closed, and what is left of the buffer goes nowhere.
        return len(data) if self._stream.closed else self._stream.write(bytes(data))

    def flush(self) -> None:
        if not self._stream.closed:
            self._stream.flush()
