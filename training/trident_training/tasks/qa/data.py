"""Extractive question answering data: SQuAD 1.1 and 2.0, KorQuAD 1.0, KLUE-MRC, AI Hub's, TyDi QA GoldP.

Source of their common form: Rajpurkar et al., SQuAD (2016) and Know What You Don't Know (2018).
"""

from __future__ import annotations

import hashlib
import json
import random
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict
from trident_client.text import is_blank

from trident_training.data.carving import carve
from trident_training.data.problems import DataError
from trident_training.data.reading import hub_splits
from trident_training.data.splits import Splits
from trident_training.tasks.qa.forms import ENDINGS, check_rows, read_questions
from trident_training.tasks.qa.unanswerable import without_answer

FILES = {"train": ("train",), "validation": ("dev", "validation")}
#: What is done about an answer that does not stand where its start says.
EXACT, MOVED, UNFOUND, AMBIGUOUS, EMPTY = (
    "exact",
    "moved to where its text stands nearest",
    "left out: not in its context",
    "left out: more than once in its context, and no start",
    "empty",
)


@dataclass
class QuestionData(Splits):
    """Questions with contexts and answers, columns ``id``, ``title``, ``question``, ``context`` and ``answers``.

    ``answers`` holds ``text`` and ``answer_start`` (a character offset), both lists, empty where there is no answer.

    Attributes:
        offsets: how many answers stood where they said, were moved, or were left out.
        paired: how many questions are put to a second passage, which does not answer them.
    """

    offsets: Counter[str] = field(default_factory=Counter)
    paired: int = 0

    def summary(self) -> str:
        """Return how many answers stood where they said, were moved, or were left out, and what was added."""
        told = [f"{number} answers {how}" for how, number in self.offsets.items()]
        told += [f"{self.paired} questions put to a passage without their answer"] if self.paired else []
        return ", ".join(told)

    def digest(self, split: str) -> str:
        """Return SHA-256 over a split's rows: two scores may be compared where it is the same."""
        total = hashlib.sha256()
        for row in self.splits[split]:
            total.update(json.dumps([row["id"], row["question"], row["context"], row["answers"]]).encode())
        return total.hexdigest()


def load_questions(
    sources: Sequence[str],
    *,
    validation_fraction: float = 0.05,
    seed: int = 0,
    unambiguous: bool = False,
    most_questions: int | None = None,
    no_answer: float = 0.0,
) -> QuestionData:
    """Load, check and join data sets.

    An answer that does not stand where its start says is moved to the nearest place where its text, or its text in
    Unicode's composed form or without surrounding spaces, does stand; one whose text is nowhere is left out.

    Args:
        sources: files of any form in :mod:`trident_training.tasks.qa.forms`, folders with ``train*.json`` (``.jsonl``,
            ``.parquet``) and perhaps ``dev*.json``, or hub names, ``name`` or
            ``name:configuration``.
        validation_fraction: how much of the train sets is carved off to choose by, whole articles at a time and
            with them those that share a context, the sources' own validation sets being kept for the report; 0 chooses
            by the sources' own.
        seed: of the carving.
        unambiguous: leaves out of the train set what cannot be pinned down: answers whose text stands more than once.
        most_questions: draws so many from the train set, where it has more.
        no_answer: share of the questions to learn from, and of those to choose by, that are put to a passage without
            their answer as well.

    Raises:
        DataError: nothing there, none of the forms that are read, or no question to learn from or to choose by.
        ValueError: a fraction outside 0 to 0.5, or 0 where no source has a validation set.
    """
    if not 0 <= validation_fraction <= 0.5:
        raise ValueError(f"a validation fraction of {validation_fraction} cannot be carved off; 0 to 0.5 is accepted")
    data = QuestionData(DatasetDict())
    rows: dict[str, list[dict[str, Any]]] = {"train": [], "validation": []}
    for source in sources:
        for split, file, questions in _read(source):
            rows[split] += _check(questions, file, data)
    if not rows["train"]:
        raise DataError(f"{', '.join(sources)}: no questions to learn from")
    train, held_out = rows["train"], rows["validation"]
    if validation_fraction:
        train, validation = _carve(train, validation_fraction, seed, ", ".join(sources))
    elif held_out:
        validation, held_out = held_out, []
    else:
        raise ValueError(f"{', '.join(sources)}: no validation set; carve one off with a fraction above 0")
    if unambiguous:
        train = [row for row in train if all(row["context"].count(text) == 1 for text in row["answers"]["text"])]
        if not train:
            raise DataError(f"{', '.join(sources)}: no answer's text stands just once in its context; one is needed")
    if most_questions is not None and len(train) > most_questions:
        train = random.Random(seed).sample(train, most_questions)
    if no_answer:
        added = [without_answer(rows, no_answer, seed) for rows in (train, validation)]
        data.paired = sum(map(len, added))
        train, validation = train + added[0], validation + added[1]
    parts = {"train": train, "validation": validation} | ({"test": held_out} if held_out else {})
    for split, chosen in parts.items():
        data.splits[split] = Dataset.from_list(chosen)
    return data


def load_rows(source: str, *, validation_fraction: float = 0.0, seed: int = 0) -> Dataset:
    """Return what a model is scored on; its description says which answers were moved or left out in reading.

    Args:
        source: as :func:`load_questions` takes it.
        validation_fraction: when above 0, what :func:`load_questions` carves off with this fraction and seed; the
            source's own validation set, or all of a single file, otherwise.
        seed: of the carving.

    Raises:
        DataError: nothing there, not SQuAD's form, or nothing that can be carved off.
    """
    data = QuestionData(DatasetDict())
    rows: dict[str, list[dict[str, Any]]] = {}
    for split, file, questions in _read(source):
        rows.setdefault(split, []).extend(_check(questions, file, data))
    if validation_fraction:
        _, chosen = _carve(rows.get("train", []), validation_fraction, seed, source)
    else:
        chosen = rows.get("validation") or rows.get("train", [])
    if not chosen:
        raise DataError(f"{source}: no questions to be scored on")
    found = Dataset.from_list(chosen)
    found.info.description = data.summary()
    return found


def _read(source: str) -> Iterator[tuple[str, str, Iterable[dict[str, Any]]]]:
    path = Path(source)
    if path.is_file():
        yield "train", str(path), read_questions(path)
    elif path.is_dir():
        found = {
            split: sorted({file for name in names for ending in ENDINGS for file in path.glob(f"*{name}*{ending}")})
            for split, names in FILES.items()
        }
        if not any(found.values()):
            raise DataError(f"{path} holds no *train*.json and no *dev*.json; {', '.join(ENDINGS)} are accepted")
        for split, files in found.items():
            for file in files:
                yield split, str(file), read_questions(file)
    elif path.is_absolute() or source.startswith(".") or path.suffix in ENDINGS:
        raise DataError(f"there is no file or folder {source}")
    else:
        yield from _from_hub(source)


def _from_hub(source: str) -> Iterator[tuple[str, str, Iterable[dict[str, Any]]]]:
    splits = hub_splits(source)
    for split in ("train", "validation"):
        if split in splits:
            file = f"{source} ({split})"
            yield split, file, check_rows(iter(splits[split]), file)


def _check(questions: Iterable[dict[str, Any]], file: str, data: QuestionData) -> list[dict[str, Any]]:
    good = []
    for question in questions:
        answers = question["answers"]
        kept: dict[str, list[Any]] = {"text": [], "answer_start": []}
        for text, start in zip(answers["text"], answers["answer_start"], strict=True):
            found = align(question["context"], text, start)
            data.offsets[found.how] += 1
            if found.how != EXACT:
                place = "" if start is None else f" at {start}"
                data.notes.append(f"{file}, id {question['id']}: {text[:40]!r}{place}: {found.how}")
            if found.start is not None:
                kept["text"].append(found.text)
                kept["answer_start"].append(found.start)
        if kept["text"] or not answers["text"]:
            good.append({**question, "answers": kept})
    return good


@dataclass(frozen=True)
class Aligned:
    """Where an answer stands: ``context[start : start + len(text)] == text``; ``start`` is None where it does not."""

    text: str
    start: int | None
    how: str


def align(context: str, text: str, start: int | None) -> Aligned:
    """Find an answer in its context: where it says, or else at the nearest place where its text stands.

    One that does not say where is found where its text stands once.
    """
    if is_blank(text):
        return Aligned(text, None, EMPTY)
    if start is not None and context[start : start + len(text)] == text:
        return Aligned(text, start, EXACT)
    if start is not None and "\r\n" in context:
        # Whoever counted one character for a line's end meant a place further on.
        start = _with_line_ends(context, start)
    forms = (text, text.strip(), *(unicodedata.normalize(form, text).strip() for form in ("NFC", "NFD")))
    for candidate in dict.fromkeys(forms):
        places = list(_occurrences(context, candidate))
        if len(places) == 1 or (places and start is not None):
            return Aligned(candidate, min(places, key=lambda place: abs(place - (start or 0))), MOVED)
        if places:
            return Aligned(text, None, AMBIGUOUS)
    return Aligned(text, None, UNFOUND)


def _with_line_ends(context: str, place: int) -> int:
    """Return the place in a context whose line ends of two characters were counted as one."""
    passed = 0
    for line in context.split("\r\n"):
        if place <= len(line):
            return passed + place
        place -= len(line) + 1
        passed += len(line) + 2
    return passed


def _occurrences(context: str, text: str) -> Iterator[int]:
    place = context.find(text)
    while place >= 0:
        yield place
        place = context.find(text, place + 1)


def _carve(
    rows: list[dict[str, Any]], fraction: float, seed: int, source: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Split off whole articles, and with each those that it shares a context with.

    Both sides have questions without an answer, where two articles have some.
    """
    links = [(row["context"], row["title"] or row["context"]) for row in rows]
    accepted = "two or more articles that share no context are accepted, or a dev set and a fraction of 0"
    labels = [bool(row["answers"]["text"]) for row in rows]
    return carve(rows, links, fraction, seed, source=source, accepted=accepted, labels=labels)
