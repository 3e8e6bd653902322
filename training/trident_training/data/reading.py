"""Reads rows from local files by their ending, and splits from folders and the hub."""

from __future__ import annotations

import contextlib
import csv
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

from datasets import Dataset, DatasetDict, Features, Value, load_dataset
from datasets.exceptions import DatasetGenerationError
from datasets.table import CastError
from pyarrow import ArrowException

from trident_training.data.form import AS_IT_IS, Form, Headerless
from trident_training.data.problems import DataError, one_line
from trident_training.data.texts import read_text

ENDINGS = {".tsv": "csv", ".csv": "csv", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}
#: What may part columns, and what it is called.
DELIMITERS = {";": "semicolons", "\t": "tabulators", "|": "vertical bars", ",": "commas"}
#: What the two splits' files may be called, without their ending.
SPLIT_NAMES = {"train": ("train",), "validation": ("validation", "dev", "val")}


def read_splits(
    source: str, columns: Sequence[str], headerless: Headerless | None = None, form: Form = AS_IT_IS
) -> dict[str, tuple[str, Dataset]]:
    """Read the splits ``train`` and, where there is one, ``validation``.

    Args:
        source: a folder with ``train.*`` and perhaps ``validation.*`` (or ``dev.*``, ``val.*``), one file (a train
            split), or a data set's hub name, ``name`` or ``name:configuration``.
        columns: what the rows must have.
        headerless: what a tab-separated file may be that has no header line.
        form: how the files name and part their columns.

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
        return _from_hub(source, columns, form)
    return {split: (str(file), read_file(file, columns, headerless, form)) for split, file in files.items()}


def read_file(
    file: Path, columns: Sequence[str], headerless: Headerless | None = None, form: Form = AS_IT_IS
) -> Dataset:
    """Read one file's rows; arguments and errors as :func:`read_splits` has them."""
    reader = ENDINGS.get(file.suffix.lower())
    if reader is None:
        raise DataError(f"{file}: the ending '{file.suffix}' is not known; accepted are {', '.join(ENDINGS)}")
    try:
        rows = _separated(file, columns, headerless, form) if reader == "csv" else _loaded(reader, file)
    except csv.Error as error:
        raise DataError(f"{file}: cannot be read as csv: {error}") from error
    except (DatasetGenerationError, CastError, ArrowException) as error:
        reason = str(error.__cause__ or error).strip().splitlines()[-1]
        raise DataError(f"{file}: cannot be read as {reader}: {reason}") from error
    if not len(rows):
        raise DataError(f"{file}: there are no rows")
    return _with_columns(rows, columns, str(file), form)


def _loaded(reader: str, file: Path) -> Dataset:
    # In a cache of its own: a user's may not be there to be written, and knows a file that was changed by its date.
    with tempfile.TemporaryDirectory() as cache:
        if reader == "json":
            # Which knows no other encoding than its own.
            text, file = read_text(file), Path(cache) / file.name
            file.write_text(text, encoding="utf-8", newline="")
        return load_dataset(reader, data_files=str(file), split="train", cache_dir=cache, keep_in_memory=True)


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


def _from_hub(source: str, columns: Sequence[str], form: Form) -> dict[str, tuple[str, Dataset]]:
    splits = hub_splits(source)
    if "train" not in splits:
        raise DataError(f"'{source}' has no split called train")
    return {
        split: (f"{source} ({split})", _with_columns(splits[split], columns, f"{source} ({split})", form))
        for split in SPLIT_NAMES
        if split in splits
    }


def _find(folder: Path, names: Sequence[str]) -> Path | None:
    found = [file for name in names for ending in ENDINGS if (file := folder / f"{name}{ending}").is_file()]
    if len(found) > 1:
        raise DataError(f"{folder} holds {' and '.join(file.name for file in found)}; leave one of them")
    return found[0] if found else None


def _separated(file: Path, columns: Sequence[str], headerless: Headerless | None, form: Form) -> Dataset:
    """Return the rows of a file of separated columns: every one as the text that stands there; empty lines are none."""
    tabs = file.suffix.lower() == ".tsv"
    delimiter = form.delimiter or ("\t" if tabs else ",")
    # A quotation mark in a tab-separated file is a character of the text.
    plain = delimiter == "\t"
    lines = io.StringIO(read_text(file), newline="")
    read = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL)
    # Spreadsheets write what parts the columns of empty lines, too.
    rows = [row for row in read if "".join(row).strip()]
    if not rows:
        return Dataset.from_dict({})
    names = form.named(rows[0], columns)
    if form.options and not (columns and set(columns) <= set(names)):
        _check_delimiter(delimiter.join(rows[0]), columns, delimiter, file, form)
    if tabs and headerless and not set(columns) <= set(names):
        if not headerless.holds(rows):
            _check_columns(names, rows[0], columns, str(file), form, headerless)
        names, rows = list(headerless.columns), [rows[0], *rows]
    _check_columns(names, rows[0], columns, str(file), form)
    rows, names = _without_unnamed(file, rows[1:], names, delimiter)
    if len(set(names)) < len(names):
        raise DataError(f"{file}: two columns of {', '.join(names)} have one name")
    features = Features({name: Value("string") for name in names})
    return Dataset.from_dict({name: [row[place] for row in rows] for place, name in enumerate(names)}, features)


def _without_unnamed(
    file: Path, rows: Sequence[list[str]], names: Sequence[str], delimiter: str
) -> tuple[list[list[str]], list[str]]:
    """Return rows and names without columns that have neither a heading nor a cell with something in it.

    Raises:
        DataError: a row with other columns than the header.
    """
    width = max((place for place, name in enumerate(names, 1) if name.strip()), default=len(names))
    whole = []
    for number, row in enumerate(rows, 1):
        further = any(cell.strip() for cell in row[width:])
        if len(row) < width or further:
            advice = (
                f"; a text with {delimiter!r} in it stands in quotation marks" if further and delimiter != "\t" else ""
            )
            raise DataError(f"{file}, row {number}: {len(row)} column(s); {width} are accepted{advice}")
        whole.append(row[:width])
    kept = [place for place in range(width) if names[place].strip() or any(row[place].strip() for row in whole)]
    return [[row[place] for place in kept] for row in whole], [names[place] for place in kept]


def _declared_as_text(rows: Dataset, name: str) -> Dataset:
    """Return rows with a column of text that was written as bytes as text; bytes that are none stay what they are."""
    if getattr(rows.features[name], "dtype", "") not in {"binary", "large_binary"}:
        return rows
    with contextlib.suppress(ArrowException):
        return rows.cast_column(name, Value("string"))
    return rows


def _with_columns(rows: Dataset, columns: Sequence[str], file: str, form: Form) -> Dataset:
    found = list(rows.column_names)
    renamed = {theirs: ours for theirs, ours in zip(found, form.named(found, columns), strict=True) if theirs != ours}
    rows = rows.rename_columns(renamed) if renamed else rows
    for name in rows.column_names:
        rows = _declared_as_text(rows, name)
    _check_columns(rows.column_names, found, columns, file, form)
    return rows


def _check_columns(
    names: Sequence[str],
    found: Sequence[str],
    columns: Sequence[str],
    file: str,
    form: Form,
    headerless: Headerless | None = None,
) -> None:
    """Refuse a file that lacks a column, with what it has and what takes it.

    Raises:
        DataError: it does.
    """
    missing = [column for column in columns if column not in names]
    if missing:
        lacking, needed = (" or ".join(map(form.theirs, missing)), " and ".join(map(form.theirs, columns)))
        *some, last = form.options or [""]
        advice = f"; name others with {', '.join(some)} and {last}" if some else ""
        advice += f"; without a header line, {headerless.title} are accepted" if headerless else ""
        raise DataError(f"{file}: no column {lacking} among {', '.join(map(str, found))}; {needed} are needed{advice}")


def _check_delimiter(header: str, columns: Sequence[str], delimiter: str, file: Path, form: Form) -> None:
    """Refuse a file whose header something else parts, into the wanted columns or where it would be one alone.

    Raises:
        DataError: with the option that has it parted.
    """
    for other in sorted(DELIMITERS, key=header.count, reverse=True):
        found = header.split(other)
        wanted = columns and set(columns) <= set(form.named(found, columns))
        if other != delimiter and len(found) > 1 and (wanted or delimiter not in header):
            given = "$'\\t'" if other == "\t" else f"'{other}'"
            accepted = DELIMITERS.get(delimiter, repr(delimiter))
            raise DataError(
                f"{file}: its columns, {header!r}, are parted by {DELIMITERS[other]}; {accepted} are accepted, and "
                f"others with --delimiter {given}"
            )
