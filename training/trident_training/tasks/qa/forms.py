"""The forms in which questions come: SQuAD's and those like it, and the hub's flat one. All become the same rows.

SQuAD's is that of SQuAD 1.1 and 2.0, KorQuAD 1.0, KLUE-MRC and AI Hub. What is accepted beyond their papers is what
such files hold: ids and titles under other names, one answer in place of a list, numbers as text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pyarrow import ArrowException
from trident_client.text import as_text, is_blank

from trident_training.data.problems import DataError, Problems
from trident_training.data.texts import read_json

ENDINGS = (".json", ".jsonl", ".parquet")
ACCEPTED = (
    "SQuAD's form is accepted, an object whose 'data' lists articles, or that list, and rows of id, question, context "
    "and answers"
)
IDS, TITLES, ANSWERS = ("id", "guid", "question_id"), ("title", "doc_title"), ("answers", "answer")
YES, NO = ("true", "yes", "1"), ("false", "no", "0", "")


class FormError(ValueError):
    """A question that is not in an accepted form; the text says what is wrong."""


def read_questions(file: Path) -> list[dict[str, Any]]:
    """Return the questions of one file, as they stand there.

    Returns:
        For each, ``id``, ``title``, ``question``, ``context`` and ``answers``: ``text`` and ``answer_start``, both
        lists, the latter of None where nothing is said.

    Raises:
        DataError: the file cannot be read, or is in none of the forms; the places are named.
    """
    return check_rows(_entries(_content(file), str(file)), str(file))


def check_rows(rows: Iterator[Mapping[str, Any]], file: str) -> list[dict[str, Any]]:
    """Return flat rows as :func:`read_questions` does.

    Args:
        rows: each with what its form calls a question, a context and the answers.
        file: what problems name.

    Raises:
        DataError: with the number and the reason of each row that is none.
    """
    problems, good = Problems(), []
    for number, row in enumerate(rows, 1):
        try:
            good.append(_question(_as_texts(row), number))
        except FormError as error:
            problems.add(file, number, str(error))
    problems.check()
    return good


def _as_texts(value: Any, depth: int = 3) -> Any:
    """Return a row with text that was written as bytes as the text that it is, as deep as answers stand in it.

    Its names are plain ones.
    """
    if isinstance(value, Mapping) and depth:
        return {name: _as_texts(each, depth - 1) for name, each in _plain(value).items()}
    return [_as_texts(each, depth - 1) for each in value] if isinstance(value, list) and depth else as_text(value)


def _plain(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object whose names are in small letters, without spaces around; of two, the one that was there is."""
    return {str(name).strip().casefold(): value for name, value in entry.items()} | {
        name: value for name, value in entry.items() if name == str(name).strip().casefold()
    }


def _content(file: Path) -> Any:
    if file.suffix.lower() == ".parquet":
        try:
            return pq.read_table(file).to_pylist()
        except (OSError, ArrowException) as error:
            raise DataError(f"{file}: cannot be read as Parquet: {error}") from error
    return read_json(file)


def _entries(content: Any, file: str) -> Iterator[Mapping[str, Any]]:
    """Yield questions as flat rows, whichever of the forms they stand in."""
    if isinstance(content, dict) and "data" in _plain(content):
        content = _plain(content)["data"]
    if isinstance(content, dict) and "question" in _plain(content):
        # One line of JSON lines.
        content = [content]
    if not isinstance(content, list):
        raise DataError(f"{file}: {ACCEPTED}")
    for number, entry in enumerate(content, 1):
        if not isinstance(entry, dict):
            raise DataError(f"{file}: {ACCEPTED}; entry {number} is {type(entry).__name__}")
        plain = _plain(entry)
        if "question" in plain:
            yield entry
            continue
        try:
            for paragraph in map(_plain, plain["paragraphs"]):
                for question in paragraph["qas"]:
                    yield {"title": _first(plain, TITLES), **_plain(question), "context": paragraph["context"]}
        except KeyError as error:
            raise DataError(f"{file}: {ACCEPTED}; an article, paragraph or question lacks {error}") from error
        except (AttributeError, TypeError) as error:
            raise DataError(f"{file}: {ACCEPTED}; article {number} has something else in their place") from error


def _question(row: Mapping[str, Any], number: int) -> dict[str, Any]:
    name = _first(row, IDS)
    identity = str(number if name is None else name)
    for column in ("question", "context"):
        if not isinstance(row.get(column), str):
            raise FormError(f"{column} of id {identity} is no text")
        if is_blank(row[column]):
            begins = repr(row[column][:20])
            raise FormError(f"{column} of id {identity} is {begins}; text with a visible character is accepted")
    try:
        answers = [] if _flag(row.get("is_impossible")) else _answers(row)
    except FormError as error:
        raise FormError(f"id {identity}: {error}") from error
    return {
        "id": identity,
        "title": str(_first(row, TITLES) or ""),
        "question": row["question"],
        "context": row["context"],
        "answers": {"text": [text for text, _ in answers], "answer_start": [start for _, start in answers]},
    }


def _answers(row: Mapping[str, Any]) -> list[tuple[str, int | None]]:
    given = _first(row, ANSWERS)
    if isinstance(given, dict) and isinstance(given.get("text"), list):
        texts = given["text"]
        starts = given.get("answer_start")
        starts = [None] * len(texts) if starts is None else starts
        if not isinstance(starts, list) or len(starts) != len(texts):
            raise FormError(f"there are {len(texts)} answers, and not as many in answer_start")
        return [(_text(text), _start(start)) for text, start in zip(texts, starts, strict=True)]
    if isinstance(given, dict):
        given = [given]
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise FormError("has no answers; a list of objects with text and answer_start is accepted, or is_impossible")
    return [(_text(each.get("text")), _start(each.get("answer_start"))) for each in given]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        # A year or an amount that something took for a number.
        return str(int(value)) if float(value).is_integer() else str(value)
    raise FormError(f"an answer's text is {json.dumps(value, default=str)}; a text or a number is accepted")


def _start(value: Any) -> int | None:
    """Return where an answer begins; None where it is not said."""
    number = value
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            number = value
    if value is None:
        return None
    if isinstance(number, int | float) and not isinstance(value, bool) and float(number).is_integer():
        return int(number) if number >= 0 else None
    raise FormError(f"answer_start is {json.dumps(value, default=str)}; a whole number is accepted")


def _flag(value: Any) -> bool:
    if isinstance(value, str | int | bool) and str(value).strip().lower() in YES:
        return True
    if value is None or (isinstance(value, str | int | bool) and str(value).strip().lower() in NO):
        return False
    raise FormError(f"is_impossible is {json.dumps(value, default=str)}; true or false is accepted")


def _first(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)
