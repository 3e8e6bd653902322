"""Makes the intermediate stage's examples: sentences good and bad, with the words that show what is wrong."""

from __future__ import annotations

import difflib
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from trident_training.data.problems import DataError
from trident_training.tasks.cola.intermediate.corruption import Corrupter, Marked, words
from trident_training.tasks.cola.intermediate.minimal_pairs import minimal_pair

SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
#: Words in a sentence that is taken from a text.
SHORTEST, LONGEST = 4, 15
#: Shares of the examples: minimal pairs, and broken sentences of the task's own; the rest is broken text.
FROM_PAIRS, FROM_TASK = 0.5, 0.25


@dataclass(frozen=True)
class Example:
    """A sentence as words, whether it is acceptable, and for each word whether it shows what is wrong."""

    words: Sequence[str]
    label: int
    marks: Sequence[int]


def read_sentences(file: Path) -> list[str]:
    """Return the short sentences of a text: SQuAD's JSON (contexts and questions), or any other file line by line.

    Raises:
        DataError: there is no such file, it is not UTF-8 or not SQuAD's JSON, or no sentence of it is short enough.
    """
    if not file.is_file():
        raise DataError(f"there is no file {file}")
    try:
        texts = list(_squad(file)) if file.suffix == ".json" else file.read_text("utf-8").splitlines()
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{file}: neither SQuAD's JSON nor text in UTF-8: {error!r}") from error
    sentences = dict.fromkeys(
        sentence.strip()
        for text in texts
        for sentence in SENTENCE_END.split(text)
        if sentence.rstrip()[-1:] in {".", "!", "?"} and SHORTEST <= len(words(sentence)) <= LONGEST
    )
    if not sentences:
        raise DataError(f"{file}: no sentence of {SHORTEST} to {LONGEST} words")
    return list(sentences)


def make_examples(task_sentences: Sequence[str], text: Sequence[str], number: int, seed: int) -> Iterator[Example]:
    """Yield examples, half of them acceptable.

    Args:
        task_sentences: acceptable sentences of the task's train set.
        text: sentences of ordinary text.
        number: of examples.
        seed: of the draw.
    """
    rng = random.Random(seed)
    own, other = [words(each) for each in task_sentences], [words(each) for each in text]
    corrupter = Corrupter([*own, *other])
    for _ in range(number):
        draw = rng.random()
        if draw < FROM_PAIRS:
            yield _of_pair(*minimal_pair(rng), rng)
        else:
            yield _of_sentence(rng.choice(own if draw < FROM_PAIRS + FROM_TASK else other), corrupter, rng)


def _of_pair(good: str, bad: str, rng: random.Random) -> Example:
    right, wrong = words(good), words(bad)
    if rng.random() < 0.5:
        return Example(right, 1, [0] * len(right))
    broken = Marked(tuple(wrong), (0,) * len(wrong))
    for change, _, _, start, end in difflib.SequenceMatcher(a=right, b=wrong, autojunk=False).get_opcodes():
        for place in range(start, max(end, start + 1)) if change != "equal" else ():
            broken = broken.marked(min(place, len(wrong) - 1))
    return Example(broken.words, 0, broken.marks)


def _of_sentence(sentence: Sequence[str], corrupter: Corrupter, rng: random.Random) -> Example:
    broken = corrupter.corrupt(sentence, rng) if rng.random() < 0.5 else None
    return Example(sentence, 1, [0] * len(sentence)) if broken is None else Example(broken.words, 0, broken.marks)


def _squad(file: Path) -> Iterator[str]:
    for article in json.loads(file.read_text("utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            yield paragraph["context"]
            yield from (question["question"] for question in paragraph["qas"])
