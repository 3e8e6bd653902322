"""Rows of files and pipes, one after the other, so that memory does not grow with the file.

A row that cannot be read is a row with a problem, not the end of the file. That is why JSON lists are cut into their
elements here, by the standard library's decoder: ijson 3.6, which reads lists too, ends at the first byte that is not
UTF-8, reads an escaped lone surrogate as a question mark, and takes no ``NaN``, all of which JSON lines may hold.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from trident_client.cli.failures import UsageError
from trident_client.cli.places import Place

if TYPE_CHECKING:
    import pyarrow as pa

#: The formats by the endings of files.
ENDINGS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".txt": "lines",
}
#: Of JSON, so many rows that cannot be read may stand before the first that can, and tells the columns.
LOOKAHEAD_ROWS = 1024
CHARACTERS_PER_READ = 1 << 20
# The longest field of a CSV file; a context may have a million bytes.
csv.field_size_limit(1 << 30)


@dataclass
class Row:
    """One row: its number from 1, its columns, and what is wrong with it, if anything."""

    number: int
    values: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None


class Source:
    """Rows of one file or stream.

    Attributes:
        has_header: whether every row has these columns; in JSON each has its own.
        schema: Arrow types of the columns, where the file has any.

    Raises:
        UsageError: the file is not of its format, or names a column twice; also from a later row.
    """

    def __init__(self, stream: IO[bytes], kind: str, line_columns: list[str]) -> None:
        self._stream = stream
        self._size = _size(stream)
        self._total_rows: int | None = None
        self._rows_read = 0
        self.schema: pa.Schema | None = None
        # As a dictionary, which keeps the order: JSON may have any number.
        self._columns: dict[str, None] = {}
        self.has_header = kind not in {"jsonl", "json"}
        readers: dict[str, Callable[[], Iterator[Row]]] = {
            "csv": lambda: self._table(_csv_records(self._text(newline=""))),
            "tsv": lambda: self._table(_tsv_records(self._text(newline="\n"))),
            "jsonl": self._json_lines,
            "json": self._json,
            "parquet": self._parquet,
            "lines": lambda: self._lines(line_columns),
        }
        rows = readers[kind]()
        # A table's columns are known before its first row; JSON's from the first row that can be read.
        first = []
        for row in itertools.islice(rows, 1 if self.has_header else LOOKAHEAD_ROWS):
            first.append(row)
            if row.values:
                break
        self._rows = itertools.chain(first, rows)
        if first:
            self._add_columns(first[-1])

    def __iter__(self) -> Iterator[Row]:
        """Yield rows."""
        for row in self._rows:
            self._rows_read = row.number
            self._add_columns(row)
            yield row

    @property
    def columns(self) -> list[str]:
        """Names of the columns; in JSON those of the rows so far, and at first of the first row that can be read."""
        return list(self._columns)

    def _add_columns(self, row: Row) -> None:
        if not self.has_header:
            self._columns.update(dict.fromkeys(row.values))

    def fraction_read(self) -> float | None:
        """Return how much of the file was read, 0 to 1; None where its size is not known."""
        if self._total_rows is not None:
            return self._rows_read / max(self._total_rows, 1)
        if self._size is None:
            return None
        return min(self._stream.tell() / max(self._size, 1), 1.0)

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _text(self, **options: Any) -> io.TextIOWrapper:
        # Bytes that are not UTF-8 become a problem of the row that holds them.
        return io.TextIOWrapper(
            io.BufferedReader(_Raw(self._stream), 1 << 16),
            encoding="utf-8-sig",
            errors="surrogateescape",
            **options,
        )

    def _table(self, records: Iterator[list[str] | str]) -> Iterator[Row]:
        header = next(records, [])
        if isinstance(header, str):
            raise UsageError(f"the first line is not a header: {header}")
        self._set_header(header)
        for number, cells in enumerate(records, 1):
            if isinstance(cells, str):
                yield Row(number, {}, cells)
                continue
            problem = None
            if len(cells) != len(header):
                problem = f"the row has {len(cells)} fields; the header has {len(header)}"
            yield Row(number, dict(zip(header, cells, strict=False)), problem)

    def _set_header(self, names: list[str]) -> None:
        name, count = Counter(names).most_common(1)[0] if names else ("", 0)
        if count > 1:
            raise UsageError(f"there is more than one column {name!r}; a name may stand once")
        self._columns = dict.fromkeys(names)

    def _lines(self, columns: list[str]) -> Iterator[Row]:
        self._columns = dict.fromkeys(columns)
        for number, line in enumerate(self._text(newline="\n"), 1):
            line = line.removesuffix("\n").removesuffix("\r")
            parts = line.split("\t") if len(columns) > 1 else [line]
            problem = None
            if len(parts) != len(columns):
                problem = f"the line has {len(parts)} parts; {' and '.join(columns)} with a tab between are accepted"
            yield Row(number, dict(zip(columns, parts, strict=False)), problem)

    def _json_lines(self) -> Iterator[Row]:
        for number, line in enumerate(self._text(newline="\n"), 1):
            if line.isspace():
                continue
            try:
                yield _json_row(number, json.loads(line))
            except (ValueError, RecursionError) as error:
                yield Row(number, {}, f"not JSON: {error}")

    def _json(self) -> Iterator[Row]:
        text = self._text()
        start = text.read(1)
        while start.isspace():
            start = text.read(1)
        if start == "[":
            yield from (_json_row(number, value) for number, value in enumerate(_elements(text), 1))
            return
        # Not a list itself: an object that holds one, such as {"results": [...]}.
        try:
            document = json.loads(start + text.read())
        except (ValueError, RecursionError) as error:
            raise UsageError(f"the file is not JSON: {error}") from error
        lists = [value for value in document.values() if isinstance(value, list)] if isinstance(document, dict) else []
        if len(lists) != 1:
            raise UsageError("a list of objects, or an object that holds one list of them, is accepted in a .json file")
        yield from (_json_row(number, value) for number, value in enumerate(lists[0], 1))

    def _parquet(self) -> Iterator[Row]:
        if self._size is None:
            raise UsageError("Parquet is read from files only, not from a pipe")
        # Who reads none need not have pyarrow.
        from trident_client.cli.parquet import ParquetReader

        reader = ParquetReader(self._stream)
        self._total_rows, self.schema = reader.total_rows, reader.schema
        self._set_header(reader.schema.names)
        yield from (Row(number, values) for number, values in enumerate(reader, 1))


class _Raw(io.RawIOBase):
    """Reads from a stream and leaves it open, so that its position can be asked while text is decoded from it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        read = getattr(self._stream, "read1", self._stream.read)
        data = read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def open_source(path: Place, kind: str | None, line_columns: list[str]) -> Source:
    """Open a file; its ending says how it is read where ``kind`` does not.

    Raises:
        UsageError: the file cannot be opened, or its ending is unknown.
    """
    kind = kind or kind_of(path)
    try:
        stream = path.open("rb")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    return Source(stream, kind, line_columns)


def kind_of(path: Place) -> str:
    """Return a file's format by its ending.

    Raises:
        UsageError: the ending is unknown.
    """
    try:
        return ENDINGS[path.suffix.lower()]
    except KeyError:
        raise UsageError(f"{path} ends in none of {', '.join(ENDINGS)}; name its format with --format") from None


def rows_of(texts: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
    """Return rows of what was given as arguments."""
    return (Row(number, dict(values)) for number, values in enumerate(texts, 1))


def _csv_records(lines: Iterable[str]) -> Iterator[list[str] | str]:
    """Yield the cells of each record, or why it cannot be read."""
    # Strictly: a quotation mark that is never closed would make one record of all that follows.
    reader = csv.reader(lines, strict=True)
    while True:
        first_line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield f"not a row of CSV, lines {first_line} to {reader.line_num}: {error}"
            continue
        if cells is None:
            return
        if cells:
            yield cells


def _tsv_records(lines: Iterable[str]) -> Iterator[list[str] | str]:
    """Yield the cells of each line; quotation marks are characters of the text (IANA's text/tab-separated-values)."""
    stripped = (line.removesuffix("\n").removesuffix("\r") for line in lines)
    return (line.split("\t") for line in stripped if line)


def _json_row(number: int, value: Any) -> Row:
    if not isinstance(value, dict):
        return Row(number, {}, f"an object is accepted, not {json.dumps(value)[:50]}")
    return Row(number, value)


def _elements(text: io.TextIOBase) -> Iterator[Any]:
    """Yield the elements of a JSON list whose bracket was read, holding little more than one of them."""
    decoder = json.JSONDecoder()
    buffer, count, at_end, expects_comma = "", 0, False, False
    while True:
        buffer = buffer.lstrip()
        if buffer.startswith("]"):
            if (buffer[1:] + text.read()).strip():
                raise UsageError(f"the file is broken behind row {count}: something follows the list's end")
            return
        if expects_comma and buffer.startswith(","):
            buffer, expects_comma = buffer[1:].lstrip(), False
        if not expects_comma:
            try:
                value, end = decoder.raw_decode(buffer)
            except RecursionError as error:
                raise UsageError(f"the file is broken behind row {count}: {error}") from error
            except ValueError as error:
                if at_end:
                    raise UsageError(f"the file is broken behind row {count}: {error}") from error
            else:
                # A number at the end of the buffer may go on behind it.
                if end < len(buffer) or at_end:
                    buffer, count, expects_comma = buffer[end:], count + 1, True
                    yield value
                    continue
        elif buffer or at_end:
            raise UsageError(f"the file is broken behind row {count}: a comma or the list's end is missing")
        chunk = text.read(max(CHARACTERS_PER_READ, len(buffer)))
        buffer, at_end = buffer + chunk, not chunk


def _size(stream: IO[bytes]) -> int | None:
    # A stream of Arrow's has no descriptor, but knows.
    if size := getattr(stream, "size", None):
        return int(size())
    try:
        status = os.fstat(stream.fileno())
        return status.st_size if stream.seekable() else None
    except OSError:
        return None
