"""Reads text: a file's as a whole, its JSON, and lines that nobody has labelled."""

from __future__ import annotations

import codecs
import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from trident_training.data.problems import DataError

ACCEPTED = "UTF-8 is accepted, and UTF-16 that begins with its byte-order mark"


def read_text(file: Path) -> str:
    """Return a file's text, without a byte-order mark; UTF-16, as spreadsheets write it, where it begins with one.

    Raises:
        DataError: it is not there, is empty, or is written otherwise.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from error
    if not content.strip():
        raise DataError(f"{file}: the file is empty")
    kind = "UTF-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "UTF-8"
    try:
        text = content.decode(kind)
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not {kind} at byte {error.start}; {ACCEPTED}") from error
    if "\0" in text:
        raise DataError(f"{file}: not UTF-8, for it has zero bytes; {ACCEPTED}")
    return text.removeprefix("\ufeff")


def read_json(file: Path) -> Any:
    """Return what a file of JSON holds, or a list of what its lines do: the hub's JSON lines have either ending.

    Raises:
        DataError: it is neither.
    """
    text = read_text(file)
    try:
        return json.loads(text)
    except ValueError as error:
        if len([line for line in text.split("\n") if line.strip()]) < 2:
            raise DataError(f"{file}: cannot be read as JSON: {error}") from error
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        try:
            rows += [json.loads(line)] if line.strip() else []
        except ValueError as error:
            raise DataError(f"{file}: cannot be read as JSON, nor line {number} of it: {error}") from error
    return rows


def read_texts(files: Iterable[Path], known: Collection[str] = ()) -> list[str]:
    """Return the lines of files, each once, without blank ones and without those that are known.

    Raises:
        DataError: a file is not there or is no text, or all of them together have no such line.
    """
    texts: dict[str, None] = {}
    files = list(files)
    for file in files:
        texts |= dict.fromkeys(line.strip() for line in read_text(file).splitlines())
    for text in ("", *known):
        texts.pop(text, None)
    if files and not texts:
        raise DataError(f"{', '.join(map(str, files))}: no text that the data set has not; a text a line is accepted")
    return list(texts)
