"""Sentences that mean the same: anchors, positives and hard negatives, read from the forms that public sets have."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trident_client.text import is_blank

from trident_training.data.problems import DataError, Problems
from trident_training.data.reading import read_file

ENTAILMENT, CONTRADICTION = "entailment", "contradiction"
#: Columns of each form; the last one may be missing from the first form.
TRIPLETS = ("anchor", "positive", "negative")
NLI = (("premise", "hypothesis", "gold_label"), ("sentence1", "sentence2", "gold_label"))
SETS = ("set", "sentence")
FORMS = f"{', '.join(TRIPLETS)}; {'; '.join(', '.join(form) for form in NLI)}; {', '.join(SETS)}"


class Triplet(NamedTuple):
    """Two sentences of one meaning.

    Attributes:
        anchor: a sentence.
        positive: another one of the same meaning.
        negative: one that reads alike and means something else, or None.
        group: a number that all triplets have in common whose sentences may mean the same.
    """

    anchor: str
    positive: str
    negative: str | None
    group: int


def load_triplets(sources: Sequence[Path], *, pairs_per_set: int = 2, seed: int = 0) -> list[Triplet]:
    """Load files of sentences that mean the same.

    Three forms are told apart by their columns: ``anchor``, ``positive`` and perhaps ``negative``, as
    sentence-transformers names them; natural language inference, where what a premise entails is its positive and what
    contradicts it the negative; and sets of paraphrases, ``set`` and ``sentence``, of which disjoint pairs are drawn.

    Args:
        sources: CSV, TSV, JSON, JSON lines or Parquet.
        pairs_per_set: pairs that are drawn of a set of paraphrases, at most.
        seed: of the draw.

    Raises:
        DataError: a file in none of the forms, with a row that is no text, or without a triplet.
    """
    problems, drawn = Problems(), random.Random(seed)
    triplets: list[Triplet] = []
    for file in sources:
        rows = read_file(file, ())
        names = set(rows.column_names)
        nli = next((form for form in NLI if set(form) <= names), None)
        if set(TRIPLETS[:2]) <= names:
            rows = list(_texts(rows, [name for name in TRIPLETS if name in names], file, problems))
            found = [(row[0], row[1], row[2] if len(row) > 2 else None, place) for place, row in enumerate(rows)]
        elif nli is not None:
            found = list(_of_inference(_texts(rows, nli, file, problems)))
        elif set(SETS) <= names:
            found = list(_of_sets(_texts(rows, SETS, file, problems), pairs_per_set, drawn))
        else:
            raise DataError(f"{file}: the columns {', '.join(rows.column_names)} are no form; accepted are {FORMS}")
        if not found and not problems.found:
            raise DataError(f"{file}: no two sentences of it mean the same")
        first = 1 + max((each.group for each in triplets), default=-1)
        triplets += [Triplet(anchor, positive, negative, first + group) for anchor, positive, negative, group in found]
    problems.check()
    return triplets


def _texts(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str], file: Path, problems: Problems
) -> Iterable[list[Any]]:
    """Yield rows as lists of these columns; one that is blank is a problem, but a negative."""
    for number, row in enumerate(rows, 1):
        values = [str(row[name]) if row[name] is not None else "" for name in columns]
        blank = next((name for name, value in zip(columns, values, strict=True) if is_blank(value)), None)
        if blank == TRIPLETS[2]:
            yield [*values[:2], None]
        elif blank is not None:
            problems.add(str(file), number, f"{blank} is {row[blank]!r}; text is accepted")
        else:
            yield values


def _of_inference(rows: Iterable[Sequence[str]]) -> Iterable[tuple[str, str, str | None, int]]:
    entailed: dict[str, list[str]] = {}
    contradicting: dict[str, list[str]] = {}
    for premise, hypothesis, label in rows:
        kept = {ENTAILMENT: entailed, CONTRADICTION: contradicting}.get(label)
        if kept is not None:
            kept.setdefault(premise, []).append(hypothesis)
    for group, (premise, hypotheses) in enumerate(entailed.items()):
        negatives = contradicting.get(premise, [])
        for place, hypothesis in enumerate(hypotheses):
            yield premise, hypothesis, negatives[place] if place < len(negatives) else None, group


def _of_sets(
    rows: Iterable[Sequence[str]], pairs_per_set: int, drawn: random.Random
) -> Iterable[tuple[str, str, None, int]]:
    sets: dict[str, dict[str, None]] = {}
    for name, sentence in rows:
        sets.setdefault(name, {})[sentence] = None
    for group, sentences in enumerate(sets.values()):
        order = drawn.sample(list(sentences), len(sentences))
        for place in range(min(pairs_per_set, len(order) // 2)):
            yield order[2 * place], order[2 * place + 1], None, group
