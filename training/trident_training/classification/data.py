"""Texts, or pairs of them, with labels: from CoLA, the Corpus of Linguistic Acceptability, and in any tabular form."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from datasets import ClassLabel, Dataset, DatasetDict
from trident_client.text import is_blank

from trident_training.data.carving import on_both_sides
from trident_training.data.form import AS_LABELLED, Headerless, LabelledForm
from trident_training.data.problems import DataError, Problems
from trident_training.data.reading import read_splits
from trident_training.data.splits import Splits

#: The columns of CoLA's own tab-separated form, which has no header and no quoting.
TSV_COLUMNS = ("source", "label", "mark", "sentence")
#: A word or two, as headings are and texts are not.
HEADING = re.compile(r"[\w-]+(?: [\w-]+)?")
LABELS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1}
#: What a row holds of texts: the second is "" where there is none.
TEXTS = ("sentence", "text_pair")


@dataclass
class LabelledData(Splits):
    """Texts with labels.

    Columns are ``sentence``, where there may be two texts ``text_pair``, ``source`` (both may be ""), and ``label``: 0
    or 1, or a list of words where labels are found in the data.

    Attributes:
        labels: what labels there are, by index.
        several: whether a text may have any number of them.
    """

    labels: Mapping[int, str] = field(default_factory=dict)
    several: bool = False

    def digest(self, split: str) -> str:
        """Return SHA-256 over a split's rows: two scores may be compared where it is the same."""
        chosen = self.splits[split]
        columns = (chosen[name] for name in ("label", *TEXTS) if name in chosen.column_names)
        rows = ("\t".join(map(str, row)) for row in zip(*columns, strict=True))
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def texts_of(rows: Dataset | Mapping[str, Sequence[str]]) -> list[str | tuple[str, str]]:
    """Return what of each row a tokenizer is given: a text, or two."""
    if "text_pair" not in (rows.column_names if isinstance(rows, Dataset) else rows):
        return list(rows["sentence"])
    return [(text, pair) if pair else text for text, pair in zip(rows["sentence"], rows["text_pair"], strict=True)]


def load_labelled(
    source: str,
    labels: Mapping[int, str] | None,
    *,
    validation_fraction: float = 0.1,
    seed: int = 0,
    form: LabelledForm = AS_LABELLED,
) -> LabelledData:
    """Load and check labelled sentences.

    Sentences of the source's own validation set are taken out of its train set.

    Args:
        source: as :func:`~trident_training.data.reading.read_splits` takes it.
        labels: what 0 and 1 mean; None where labels are the words that the data has.
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
    read = _read(source, labels, form)
    splits = {split: _check(rows, file, labels, problems, form) for split, (file, rows) in read.items()}
    problems.check()
    train = splits["train"]
    held_out = splits.get("validation")
    if held_out is not None:
        train = _without(train, held_out, read["train"][0], read["validation"][0], notes, form.together)
    # One to learn from, and one to choose by where it is carved off.
    needed = 2 if validation_fraction else 1
    if (found := len(set(_keys(train, form.together)))) < needed:
        raise DataError(f"{source}: {found} different sentence(s) to learn from; {needed} or more are accepted")
    if validation_fraction:
        train, validation = _carve(train, validation_fraction, seed, form.together)
        chosen = {"train": train, "validation": validation} | ({"test": held_out} if held_out is not None else {})
    elif held_out is not None:
        chosen = {"train": train, "validation": held_out}
    else:
        raise ValueError(f"{source} has no validation set of its own; carve one off with a validation fraction above 0")
    if labels is None:
        named = (label for split in ("train", "validation") for label in chosen[split]["label"])
        labels = dict(enumerate(sorted({name for label in named for name in label})))
    return LabelledData(DatasetDict(chosen), notes, labels, several=form.separator is not None)


def load_rows(
    source: str,
    labels: Mapping[int, str] | None,
    *,
    validation_fraction: float = 0.0,
    seed: int = 0,
    form: LabelledForm = AS_LABELLED,
) -> Dataset:
    """Load and check the rows to score a model on.

    Args:
        source: as :func:`load_labelled` takes it.
        labels: as there.
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
    read = _read(source, labels, form)
    file, rows = read.get("validation", read["train"])
    checked = _check(rows, file, labels, problems, form)
    problems.check()
    return checked


def _read(source: str, labels: Mapping[int, str] | None, form: LabelledForm) -> dict[str, tuple[str, Dataset]]:
    return read_splits(source, form.columns, _headerless(labels, form), form)


def _headerless(labels: Mapping[int, str] | None, form: LabelledForm) -> Headerless:
    """Return what a tab-separated file without a header line may be: CoLA's own form, or the needed columns alone."""
    columns = TSV_COLUMNS if labels is not None and "text_pair" not in form.columns else form.columns
    place = columns.index("label")
    named = {form.theirs(name).strip().casefold() for name in form.columns}

    def holds(rows: Sequence[Sequence[str]]) -> bool:
        first, others = rows[0], rows[1:]
        if len(first) != len(columns) or named & {cell.strip().casefold() for cell in first}:
            return False
        if labels is None:
            # A heading stands above no other row; neither may the label of a text, but a text is longer.
            return any(row[place : place + 1] == [first[place]] for row in others) or not HEADING.fullmatch(
                first[1 - place].strip()
            )
        known = [_known(form).get(cell.strip().casefold()) is not None for cell in _column(rows, place)]
        return known[0] or not any(known)

    title = ", ".join(form.theirs(name) if name in form.columns else name for name in columns)
    return Headerless(columns, f"the columns {title}", holds)


def _column(rows: Sequence[Sequence[str]], place: int) -> list[str]:
    return [row[place] for row in rows if len(row) > place]


def _known(form: LabelledForm) -> dict[str, int]:
    return {**LABELS, **form.labels}


def _check(
    rows: Dataset, file: str, labels: Mapping[int, str] | None, problems: Problems, form: LabelledForm
) -> Dataset:
    accepted = "a word is accepted" if labels is None else f"0 ({labels[0]}) and 1 ({labels[1]})"
    known = _known(form)
    kind = rows.features["label"] if len(rows) else None
    paired = "text_pair" in (*form.columns, *form.optional)
    sources = rows["source"] if "source" in rows.column_names else [""] * len(rows)
    pairs = rows["text_pair"] if paired and "text_pair" in rows.column_names else [""] * len(rows)
    good: dict[str, list[Any]] = {"sentence": [], **({"text_pair": []} if paired else {}), "label": [], "source": []}
    for row, (sentence, pair, label, source) in enumerate(
        zip(rows["sentence"], pairs, rows["label"], sources, strict=True), 1
    ):
        given: Any = known.get(str(label).strip().casefold())
        if labels is None:
            given = _names(kind.int2str(label) if isinstance(kind, ClassLabel) else label, form.separator)
            if not given and form.separator is None:
                problems.add(file, row, f"the label is {label!r}; {accepted}")
        elif given is None:
            reason = f"the label is {label!r}; {accepted} are accepted, and words that --label-map gives a number"
            problems.add(file, row, reason)
        if not isinstance(sentence, str) or is_blank(sentence):
            problems.add(file, row, f"the {form.theirs('sentence')} is {sentence!r}; text is accepted")
        if "text_pair" in form.columns and (not isinstance(pair, str) or is_blank(pair)):
            problems.add(file, row, f"the {form.theirs('text_pair')} is {pair!r}; text is accepted")
        for name, value in (("sentence", sentence), ("text_pair", pair), ("label", given), ("source", source or "")):
            if name in good:
                good[name].append(value if name != "text_pair" or not is_blank(value or "") else "")
    if not len(rows):
        problems.add(file, None, "there are no rows")
    return Dataset.from_dict(good) if not problems.found else rows


def _names(cell: Any, separator: str | None) -> list[str]:
    """Return the labels of a cell, each once: a word, or several in a list or parted by the separator."""
    cells = cell if isinstance(cell, list) else [] if cell is None else [str(cell)]
    if separator is not None and not isinstance(cell, list):
        cells = [part for each in cells for part in each.split(separator)]
    return sorted({str(each).strip() for each in cells} - {""})


def _keys(rows: Dataset, together: Sequence[str]) -> list[tuple[str, ...]]:
    return list(zip(*(rows[name] for name in together), strict=True))


def _without(
    train: Dataset, held_out: Dataset, train_file: str, held_out_file: str, notes: list[str], together: Sequence[str]
) -> Dataset:
    first_row = {key: row for row, key in reversed(list(enumerate(_keys(held_out, together), 1)))}
    shared = {index: first_row[key] for index, key in enumerate(_keys(train, together)) if key in first_row}
    notes += [
        f"{train_file}, row {index + 1}: left out, for it is also row {row} of {held_out_file}"
        for index, row in shared.items()
    ]
    return train.select([index for index in range(len(train)) if index not in shared])


def _carve(train: Dataset, fraction: float, seed: int, together: Sequence[str]) -> tuple[Dataset, Dataset]:
    """Split off whole sentences, so that one that stands in the set twice is on one side only.

    Both sides have some of each label, also of each that stands beside others; of texts that are put in order for a
    query, both have a query with texts of both kinds.
    """
    rows = _keys(train, together)
    kinds: dict[tuple[str, ...], set[Any]] = {}
    for key, label in zip(rows, train["label"], strict=True):
        # Having none is a kind, too.
        kinds.setdefault(key, set()).update((label or [""]) if isinstance(label, list) else [label])
    if not set(TEXTS) & set(train.column_names) <= set(together):
        for has in kinds.values():
            has |= {"both"} if len(has) > 1 else set()
    keys = sorted(kinds)
    random.Random(seed).shuffle(keys)
    carved = on_both_sides({key: kinds[key] for key in keys}, keys[: max(1, round(len(keys) * fraction))])
    sides: tuple[list[int], list[int]] = ([], [])
    for index, key in enumerate(rows):
        sides[key in carved].append(index)
    return train.select(sides[0]), train.select(sides[1])
