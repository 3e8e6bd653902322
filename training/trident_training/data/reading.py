"""Reads rows from local files by their ending, and splits from folders and the hub."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict, Features, Value, load_dataset
from datasets.exceptions import DatasetGenerationError

from trident_training.data.problems import DataError, one_line

ENDINGS = {".tsv": "csv", ".csv": "csv", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}
#: What the two splits' files may be called, without their ending.
SPLIT_NAMES = {"train": ("train",), "validation": ("validation", "dev", "val")}


def read_splits(source: str, columns: Sequence[str], headerless: Sequence[str]) -> dict[str, tuple[str, Dataset]]:
    """Read the splits ``train`` and, where there is one, ``validation``.

    Args:
        source: a folder with ``train.*`` and perhaps ``validation.*`` (or ``dev.*``, ``val.*``), one file (a train
            split), or a data set's hub name, ``name`` or ``name:configuration``.
        columns: what the rows must have.
        headerless: the columns of a tab-separated file without a header line.

    Returns:
        By split, where it was read from and its rows.

    Raises:
        DataError: nothing there, an ending that is not known, a file that cannot be parsed, or missing columns.
    """
    path = Path(source)
    if path.is_dir():
        files = {split: file for split, names in SPLIT_NAMES.items() if (file := _find(path, names))}
        if "train" not in files:
            raise DataError(f"{path} holds no train file; accepted are train with the endings {', '.join(ENDINGS)}")
    elif path.is_file():
        files = {"train": path}
    elif path.is_absolute() or source.startswith(".") or path.suffix in ENDINGS:
        raise DataError(f"there is no file or folder {source}")
    else:
        return _from_hub(source, columns)
    return {split: (str(file), read_file(file, columns, headerless)) for split, file in files.items()}


def read_file(file: Path, columns: Sequence[str], headerless: Sequence[str]) -> Dataset:
    """Read one file's rows; arguments and errors as :func:`read_splits` has them."""
    reader = ENDINGS.get(file.suffix.lower())
    if reader is None:
        raise DataError(f"{file}: the ending '{file.suffix}' is not known; accepted are {', '.join(ENDINGS)}")
    if not file.read_bytes().strip():
        raise DataError(f"{file}: the file is empty")
    try:
        options = _separated(file, columns, headerless) if reader == "csv" else {}
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 at byte {error.start}; UTF-8 is accepted") from error
    except csv.Error as error:
        raise DataError(f"{file}: cannot be read as csv: {error}") from error
    try:
        rows = load_dataset(reader, data_files=str(file), split="train", **options)
    except ValueError as error:
        # What datasets says of a file whose header is all there is.
        raise DataError(f"{file}: there are no rows") from error
    except DatasetGenerationError as error:
        reason = str(error.__cause__ or error).strip().splitlines()[-1]
        raise DataError(f"{file}: cannot be read as {reader}: {reason}") from error
    return _with_columns(rows, columns, str(file))


def hub_splits(source: str) -> DatasetDict:
    """Return a hub data set's splits; ``source`` is ``name`` or ``name:configuration``.

    Raises:
        DataError: the hub does not give it.
    """
    name, _, configuration = source.partition(":")
    try:
        splits: DatasetDict = load_dataset(name, configuration or None)
    # Whatever went wrong there, the user has to hear that nothing local was meant either.
    except Exception as error:
        raise DataError(
            f"'{source}' is no local file or folder, and the hub does not give it either: {one_line(error)}"
        ) from error
    return splits


def _from_hub(source: str, columns: Sequence[str]) -> dict[str, tuple[str, Dataset]]:
    splits = hub_splits(source)
    if "train" not in splits:
        raise DataError(f"'{source}' has no split called train")
    return {
        split: (f"{source} ({split})", _with_columns(splits[split], columns, f"{source} ({split})"))
        for split in SPLIT_NAMES
        if split in splits
    }


def _find(folder: Path, names: Sequence[str]) -> Path | None:
    found = [file for name in names for ending in ENDINGS if (file := folder / f"{name}{ending}").is_file()]
    if len(found) > 1:
        raise DataError(f"{folder} holds {' and '.join(file.name for file in found)}; leave one of them")
    return found[0] if found else None


def _separated(file: Path, columns: Sequence[str], headerless: Sequence[str]) -> dict[str, Any]:
    """Return how ``datasets`` is to read a file of separated columns: every one as the text that stands there."""
    tabs = file.suffix.lower() == ".tsv"
    with file.open(encoding="utf-8-sig", newline="") as lines:
        # A quotation mark in a tab-separated file is a character of the text.
        rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else csv.reader(lines)
        first = next(rows)
        header = set(columns) <= set(first)
        names = first if header or not tabs else list(headerless)
        for number, row in enumerate(rows if header or not tabs else itertools.chain([first], rows), 1):
            if len(row) != len(names):
                raise DataError(f"{file}, row {number}: {len(row)} column(s); {len(names)} are accepted")
    return {
        "sep": "\t" if tabs else ",",
        "quoting": csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL,
        "header": 0 if header or not tabs else None,
        "names": names,
        "features": Features({name: Value("string") for name in names}),
        "keep_default_na": False,
        "encoding": "utf-8-sig",
    }


def _with_columns(rows: Dataset, columns: Sequence[str], file: str) -> Dataset:
    missing = [column for column in columns if column not in rows.column_names]
    if missing:
        raise DataError(
            f"{file}: no column {' or '.join(missing)} among {', '.join(rows.column_names)}; "
            f"{' and '.join(columns)} are needed"
        )
    return rows
