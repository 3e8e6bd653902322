"""Sentences with labels, 0 and 1: from CoLA, the Corpus of Linguistic Acceptability, and in any tabular form."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping

from datasets import Dataset, DatasetDict
from trident_client.text import is_blank

from trident_training.data.form import AS_LABELLED, LabelledForm
from trident_training.data.problems import DataError, Problems
from trident_training.data.reading import read_splits
from trident_training.data.splits import Splits

#: The columns of CoLA's own tab-separated form, which has no header and no quoting.
TSV_COLUMNS = ("source", "label", "mark", "sentence")
LABELS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}


class LabelledData(Splits):
    """Sentences with labels, 0 or 1; columns ``sentence``, ``label`` and ``source`` (may be "")."""

    def digest(self, split: str) -> str:
        """Return SHA-256 over a split's rows: two scores may be compared where it is the same."""
        rows = zip(self.splits[split]["label"], self.splits[split]["sentence"], strict=True)
        return hashlib.sha256("\n".join(f"{label}\t{text}" for label, text in rows).encode()).hexdigest()


def load_labelled(
    source: str,
    labels: Mapping[int, str],
    *,
    validation_fraction: float = 0.1,
    seed: int = 0,
    form: LabelledForm = AS_LABELLED,
) -> LabelledData:
    """Load and check labelled sentences.

    Sentences of the source's own validation set are taken out of its train set.

    Args:
        source: as :func:`~trident_training.data.reading.read_splits` takes it.
        labels: what 0 and 1 mean.
        validation_fraction: how much of the train set is carved off to choose by, the source's own validation set being
            kept for the report; 0 chooses by the source's own.
        seed: of the carving.
        form: how the files are written.

    Raises:
        DataError: with file, row and reason of every bad row, or too few sentences to learn from and to choose by.
        ValueError: a fraction outside 0 to 0.5, or 0 where the source has no validation set.
    """
    if not 0 <= validation_fraction <= 0.5:
        raise ValueError(f"a validation fraction of {validation_fraction} cannot be carved off; 0 to 0.5 is accepted")
    problems, notes = Problems(), list[str]()
    read = read_splits(source, ("sentence", "label"), TSV_COLUMNS, form)
    splits = {split: _check(rows, file, labels, problems, form) for split, (file, rows) in read.items()}
    problems.check()
    train = splits["train"]
    held_out = splits.get("validation")
    if held_out is not None:
        train = _without(train, held_out, read["train"][0], read["validation"][0], notes)
    # One to learn from, and one to choose by where it is carved off.
    needed = 2 if validation_fraction else 1
    if (found := len(set(train["sentence"]))) < needed:
        raise DataError(f"{source}: {found} different sentence(s) to learn from; {needed} or more are accepted")
    if validation_fraction:
        train, validation = _carve(train, validation_fraction, seed)
        chosen = {"train": train, "validation": validation} | ({"test": held_out} if held_out is not None else {})
    elif held_out is not None:
        chosen = {"train": train, "validation": held_out}
    else:
        raise ValueError(f"{source} has no validation set of its own; carve one off with a validation fraction above 0")
    return LabelledData(DatasetDict(chosen), notes)


def load_rows(
    source: str,
    labels: Mapping[int, str],
    *,
    validation_fraction: float = 0.0,
    seed: int = 0,
    form: LabelledForm = AS_LABELLED,
) -> Dataset:
    """Load and check the rows to score a model on.

    Args:
        source: as :func:`load_labelled` takes it.
        labels: what 0 and 1 mean.
        validation_fraction: when above 0, what :func:`load_labelled` carves off with this fraction and seed; the
            source's own validation set, or all of a single file, otherwise.
        seed: of the carving.
        form: how the files are written.

    Raises:
        DataError: with file, row and reason of every bad row.
    """
    if validation_fraction:
        data = load_labelled(source, labels, validation_fraction=validation_fraction, seed=seed, form=form)
        return data.splits["validation"]
    problems = Problems()
    read = read_splits(source, ("sentence", "label"), TSV_COLUMNS, form)
    file, rows = read.get("validation", read["train"])
    checked = _check(rows, file, labels, problems, form)
    problems.check()
    return checked


def _check(rows: Dataset, file: str, labels: Mapping[int, str], problems: Problems, form: LabelledForm) -> Dataset:
    accepted = f"0 ({labels[0]}) and 1 ({labels[1]})"
    known = {**LABELS, **form.labels}
    sources = rows["source"] if "source" in rows.column_names else [""] * len(rows)
    good: dict[str, list[object]] = {"sentence": [], "label": [], "source": []}
    for row, (sentence, label, source) in enumerate(zip(rows["sentence"], rows["label"], sources, strict=True), 1):
        number = known.get(str(label).strip().casefold())
        if number is None:
            reason = f"the label is {label!r}; {accepted} are accepted, and words that --label-map gives a number"
            problems.add(file, row, reason)
        if not isinstance(sentence, str) or is_blank(sentence):
            problems.add(file, row, f"the sentence is {sentence!r}; text is accepted")
        for name, value in (("sentence", sentence), ("label", number), ("source", source or "")):
            good[name].append(value)
    if not len(rows):
        problems.add(file, None, "there are no rows")
    return Dataset.from_dict(good) if not problems.found else rows


def _without(train: Dataset, held_out: Dataset, train_file: str, held_out_file: str, notes: list[str]) -> Dataset:
    first_row = {sentence: row for row, sentence in reversed(list(enumerate(held_out["sentence"], 1)))}
    shared = {index: first_row[text] for index, text in enumerate(train["sentence"]) if text in first_row}
    notes += [
        f"{train_file}, row {index + 1}: left out, for it is also row {row} of {held_out_file}"
        for index, row in shared.items()
    ]
    return train.select([index for index in range(len(train)) if index not in shared])


def _carve(train: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """Split off whole sentences, so that one that stands in the set twice is on one side only.

    Where a label is so rare that chance leaves it on one side alone, that share of each label's sentences is split off.
    """
    label_of = dict(zip(train["sentence"], train["label"], strict=True))
    sentences = sorted(label_of)
    random.Random(seed).shuffle(sentences)
    carved = set(sentences[: max(1, round(len(sentences) * fraction))])
    rest = [sentence for sentence in sentences if sentence not in carved]
    parts = [[sentence for sentence in sentences if label_of[sentence] == label] for label in (0, 1)]
    if any(len({label_of[each] for each in side}) < 2 for side in (carved, rest)) and min(map(len, parts)) > 1:
        carved = {sentence for part in parts for sentence in part[: max(1, round(len(part) * fraction))]}
    sides: tuple[list[int], list[int]] = ([], [])
    for index, sentence in enumerate(train["sentence"]):
        sides[sentence in carved].append(index)
    return train.select(sides[0]), train.select(sides[1])
