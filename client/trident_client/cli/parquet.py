"""Parquet, in and out: the one format that needs pyarrow, which nothing else of the command line imports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from trident_client._columns import SPAN
from trident_client._names import ERROR
from trident_client.cli.failures import UsageError
from trident_client.cli.writers import as_json
from trident_client.text import as_text

ROWS_PER_BATCH = 1024
ROWS_PER_GROUP = 4096
LABEL = pa.struct([("label", pa.string()), ("score", pa.float32())])
ARROW_TYPES = {
    "float": pa.float32(),
    "int32": pa.int32(),
    "string": pa.string(),
    "list<float>": pa.list_(pa.float32()),
    "list<int8>": pa.list_(pa.int8()),
    "list<uint8>": pa.list_(pa.uint8()),
    "list<span>": pa.list_(SPAN),
    "list<label>": pa.list_(LABEL),
}


def count_rows(file: Path) -> int:
    """Return how many rows a file has; none where it cannot be read."""
    try:
        return int(pq.read_metadata(file).num_rows)
    except (OSError, pa.ArrowException):
        return 0


class ParquetReader:
    """The rows of a file, as values by column.

    Attributes:
        schema: names and types of the columns.
        total_rows: how many rows there are.

    Raises:
        UsageError: the file is not Parquet; also from a later row.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        try:
            self._file = pq.ParquetFile(stream)
        # What Arrow says of a footer that is none depends on where it stops making sense.
        except (OSError, pa.ArrowException) as error:
            raise UsageError(f"the file is not Parquet: {error}") from error
        self.schema: pa.Schema = self._file.schema_arrow
        self.total_rows: int = self._file.metadata.num_rows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield rows."""
        rows_read = 0
        try:
            for batch in self._file.iter_batches(batch_size=ROWS_PER_BATCH):
                columns = [_values(column) for column in batch.columns]
                for values in zip(*columns, strict=True):
                    rows_read += 1
                    yield dict(zip(batch.schema.names, values, strict=True))
        except (OSError, UnicodeError, pa.ArrowException) as error:
            raise UsageError(f"the file is broken behind row {rows_read}: {error}") from error


def _values(column: pa.Array) -> list[Any]:
    """Return a column's values as Python has them; those that it has not, such as nanoseconds, as Arrow's own."""
    if getattr(column.type, "unit", None) == "ns":
        return [each if each.is_valid else None for each in column]
    values: list[Any] = column.to_pylist()
    return [as_text(each) for each in values]


class ParquetWriter:
    """Row groups of a few thousand rows. Columns that had no type where they were read are text."""

    def __init__(
        self,
        stream: IO[bytes],
        columns: list[str],
        results: Mapping[str, str],
        names: Mapping[str, str],
        schema: pa.Schema | None,
    ) -> None:
        self._columns, self._results, self._typed = columns, list(results), schema is not None
        own = [schema.field(name) if schema is not None else pa.field(name, pa.string()) for name in columns]
        answers = [pa.field(names[name], ARROW_TYPES[kind]) for name, kind in results.items()]
        self._schema = pa.schema([*own, *answers, pa.field(names[ERROR], pa.string())])
        self._writer = pq.ParquetWriter(stream, self._schema)
        self._rows: list[list[Any]] = []

    def write(self, values: Mapping[str, Any], result: Mapping[str, Any] | None, problem: str | None) -> None:
        """Keep one row, and write the group where it is full."""
        own = [values.get(name) if self._typed else _text(values.get(name)) for name in self._columns]
        self._rows.append([*own, *((result or {}).get(name) for name in self._results), problem])
        if len(self._rows) >= ROWS_PER_GROUP:
            self._write_group()

    def close(self) -> None:
        """Write the last group and the footer."""
        self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        if self._rows:
            columns = zip(*self._rows, strict=True)
            arrays = [pa.array(list(column), field.type) for column, field in zip(columns, self._schema, strict=True)]
            self._writer.write_table(pa.table(arrays, schema=self._schema))
            self._rows = []


def _text(value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else as_json(value)
    return text.encode("utf-8", "backslashreplace").decode()
