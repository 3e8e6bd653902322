"""Reads text that nobody has labelled: a text a line."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from trident_training.data.problems import DataError


def read_texts(files: Iterable[Path], known: Collection[str] = ()) -> list[str]:
    """Return the lines of files, each once, without blank ones and without those that are known.

    Raises:
        DataError: a file is not there, is not UTF-8, or all of them together have no such line.
    """
    texts: dict[str, None] = {}
    files = list(files)
    for file in files:
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except OSError as error:
            raise DataError(f"{file} cannot be read: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise DataError(f"{file}: not UTF-8 at byte {error.start}; UTF-8 with a text a line is accepted") from error
        texts |= dict.fromkeys(line.strip() for line in lines)
    for text in ("", *known):
        texts.pop(text, None)
    if files and not texts:
        raise DataError(f"{', '.join(map(str, files))}: no text that the data set has not; a text a line is accepted")
    return list(texts)
