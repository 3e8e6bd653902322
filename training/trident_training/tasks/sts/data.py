"""Sentence pairs with a similarity of 0 to 5: STS-B, KLUE-STS, KorSTS, and data in their forms.

Sources: Cer et al., SemEval-2017 Task 1 (STS-B); Park et al., KLUE (2021); Ham et al., KorNLI and KorSTS (2020).
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from datasets import Dataset, DatasetDict
from trident_client.text import is_blank

from trident_training.data.carving import carve
from trident_training.data.form import AS_IT_IS, Form
from trident_training.data.problems import DataError, Problems
from trident_training.data.reading import SPLIT_NAMES, hub_splits, read_splits
from trident_training.data.splits import Splits
from trident_training.data.texts import read_json, read_text

#: The greatest similarity; the least is 0.
MOST = 5.0
#: Similarity from which two sentences are called similar (KLUE-STS's own rule).
SIMILAR = 3.0
SIDES = ("sentence_1", "sentence_2")
#: What the two sentences and their similarity are called by one source or another.
SENTENCE_1 = ("sentence1", "sentence_1")
SENTENCE_2 = ("sentence2", "sentence_2")
SCORE = ("score", "label", "similarity_score", "labels")
#: What KLUE calls the score among its labels; its ``label`` is rounded to one decimal.
NESTED_SCORE = ("real-label", "label")
#: STS-B's own form: tab-separated, no header, no quoting, and further columns in some rows.
STSB_COLUMNS = 7


class Translation(NamedTuple):
    """A sentence in two languages."""

    original: str
    translation: str


class SimilarityData(Splits):
    """Sentence pairs; columns ``sentence_1``, ``sentence_2``, ``score`` (0 to 5) and ``label`` (1 where similar)."""

    def digest(self, split: str) -> str:
        """Return SHA-256 over a split's rows: two scores may be compared where it is the same."""
        rows = self.splits[split]
        columns = zip(rows["score"], rows["sentence_1"], rows["sentence_2"], strict=True)
        return hashlib.sha256("\n".join(json.dumps(row) for row in columns).encode()).hexdigest()


def load_pairs(
    sources: Sequence[str],
    *,
    validation_fraction: float = 0.1,
    seed: int = 0,
    form: Form = AS_IT_IS,
    scales: Sequence[float] = (),
) -> SimilarityData:
    """Load, check and join data sets.

    Args:
        sources: files, folders with ``train.*`` and perhaps ``dev.*``, or hub names, ``name`` or
            ``name:configuration``.
        validation_fraction: how much of the first source's train set is carved off to choose by, its own validation
            set being kept for the report; 0 chooses by its own. Of further sources only the train set is used.
        seed: of the carving.
        form: how the files are written.
        scales: the greatest score of each source, of all of them, or, where there is none, :data:`MOST`.

    Raises:
        DataError: with file, row and reason of every bad row, or with a split whose scores end at 1 without a scale
            that says so, or with why there is no pair to learn from or choose by.
        ValueError: a fraction outside 0 to 0.5, or 0 where the first source has no validation set.
    """
    if not 0 <= validation_fraction <= 0.5:
        raise ValueError(f"a validation fraction of {validation_fraction} cannot be carved off; 0 to 0.5 is accepted")
    problems, notes = Problems(), list[str]()
    by_source = [scales[min(place, len(scales) - 1)] if scales else None for place in range(len(sources))]
    checked = [
        _check_splits(_read(each, form), problems, scale) for each, scale in zip(sources, by_source, strict=True)
    ]
    problems.check()
    for source, found, scale in zip(sources, checked, by_source, strict=True):
        _check_ends(source, found, scale)
        notes += _noted(source, scale)
    read = [{split: rows for split, (_, rows) in found.items()} for found in checked]
    first = read[0]
    train, held_out = first["train"], first.get("validation")
    if validation_fraction:
        train, validation = _carve(train, validation_fraction, seed, sources[0])
    elif held_out is not None:
        validation, held_out = held_out, None
    else:
        raise ValueError(f"{sources[0]} has no validation set; carve one off with a validation fraction above 0")
    kept = [row for each in (train, *(further["train"] for further in read[1:])) for row in each]
    known = {_texts(row) for rows in (validation, held_out or []) for row in rows}
    train = [row for row in kept if _texts(row) not in known]
    if not train:
        raise DataError(f"{', '.join(sources)}: every pair is chosen or reported by; one more to learn from is needed")
    if len(train) < len(kept):
        notes.append(f"{len(kept) - len(train)} pairs left out of the train set, for they are chosen or reported by")
    splits = {"train": train, "validation": validation} | ({"test": held_out} if held_out else {})
    return SimilarityData(DatasetDict({name: Dataset.from_list(rows) for name, rows in splits.items()}), notes)


def load_rows(
    source: str,
    *,
    validation_fraction: float = 0.0,
    seed: int = 0,
    form: Form = AS_IT_IS,
    scale: float | None = None,
) -> Dataset:
    """Return what a model is scored on.

    Args:
        source: as :func:`load_pairs` takes it.
        validation_fraction: when above 0, what :func:`load_pairs` carves off with this fraction and seed; the source's
            own validation set, or all of a single file, otherwise.
        seed: of the carving.
        form: how the files are written.
        scale: the greatest score; :data:`MOST` when None.

    Raises:
        DataError: with file, row and reason of every bad row, or with a split whose scores end at 1 without a scale
            that says so.
    """
    problems = Problems()
    checked = _check_splits(_read(source, form), problems, scale)
    problems.check()
    _check_ends(source, checked, scale)
    rows = checked.get("validation", checked["train"])[1]
    if validation_fraction:
        rows = _carve(checked["train"][1], validation_fraction, seed, source)[1]
    found = Dataset.from_list(rows)
    found.info.description = "".join(_noted(source, scale))
    return found


def load_translations(original: str, translation: str) -> dict[str, list[Translation]]:
    """Load the sentences of a data set and of its translation, row by row: KorSTS is STS-B's.

    Args:
        original: as :func:`load_pairs` takes a source.
        translation: the same rows in another language.

    Returns:
        ``train`` and ``validation``, each sentence once, and none of the validation set's in the train set.

    Raises:
        DataError: a bad row, no validation set, rows that do not belong together, or none to learn from.
    """
    problems = Problems()
    read = [
        {split: (file, _check(rows, file, problems)) for split, (file, rows) in _read(source).items()}
        for source in (original, translation)
    ]
    problems.check()
    result: dict[str, list[Translation]] = {}
    for split in ("validation", "train"):
        if any(split not in each for each in read):
            raise DataError(f"{original} and {translation} need a {split} set each")
        (file, rows), (other_file, others) = (each[split] for each in read)
        # Translated rows keep their score.
        apart = next((n for n, (a, b) in enumerate(zip(rows, others)) if a["score"] != b["score"]), None)  # noqa: B905
        if len(rows) != len(others) or apart is not None:
            where = f"{len(rows)} and {len(others)} rows" if apart is None else f"other scores in row {apart + 1}"
            raise DataError(f"{file} and {other_file} are not one another's translation: {where}")
        pairs = [Translation(a[side], b[side]) for a, b in zip(rows, others, strict=True) for side in SIDES]
        known = {pair.translation for pair in result.get("validation", [])}
        result[split] = [pair for pair in dict.fromkeys(pairs) if pair.translation not in known]
        if not result[split]:
            raise DataError(f"{other_file}: every sentence is in the validation set; one more to learn from is needed")
    return result


def _read(source: str, form: Form = AS_IT_IS) -> dict[str, tuple[str, list[dict[str, Any]]]]:
    """Return by split where it was read from and its rows, unchecked: two sentences and what stands for the score."""
    path = Path(source)
    if path.is_dir() or path.is_file():
        files = _files(path)
        return {split: (str(file), _rows_of(file, form)) for split, file in files.items()}
    if path.is_absolute() or source.startswith("."):
        raise DataError(f"there is no file or folder {source}")
    splits = hub_splits(source)
    if "train" not in splits:
        raise DataError(f"'{source}' has no split called train")
    return {
        split: (name := f"{source} ({split})", _named(splits[split], name, form))
        for split in SPLIT_NAMES
        if split in splits
    }


def _files(path: Path) -> dict[str, Path]:
    if path.is_file():
        return {"train": path}
    files: dict[str, Path] = {}
    for split, names in SPLIT_NAMES.items():
        found = sorted(file for file in path.iterdir() if file.is_file() and _stem(file).startswith(names))
        if len(found) > 1:
            raise DataError(f"{path} holds {' and '.join(file.name for file in found)}; leave one of them")
        files |= {split: found[0]} if found else {}
    if "train" not in files:
        raise DataError(f"{path} holds no train file; a file whose name begins with train is accepted")
    return files


def _stem(file: Path) -> str:
    """Return a file's name without what KLUE and KorSTS begin it with."""
    return file.name.lower().removeprefix("klue-sts-v1.1_").removeprefix("klue-sts_").removeprefix("sts-")


def _rows_of(file: Path, form: Form) -> list[dict[str, Any]]:
    if file.suffix.lower() in {".tsv", ".csv"} and form == AS_IT_IS:
        own_form = _stsb_rows(file)
        if own_form is not None:
            return own_form
    if file.suffix.lower() == ".json":
        return _named(_json_rows(file), str(file), form)
    (_, rows), *_ = read_splits(str(file), (), None, form).values()
    return _named(rows, str(file), form)


def _stsb_rows(file: Path) -> list[dict[str, Any]] | None:
    """Return the rows of a file in STS-B's own form, or with a header in KorSTS's; None when it is in neither."""
    read = csv.reader(io.StringIO(read_text(file), newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    rows = [row for row in read if "".join(row).strip()]
    if not rows or len(rows[0]) < STSB_COLUMNS:
        return None
    header = rows[0][4:STSB_COLUMNS] == ["score", "sentence1", "sentence2"]
    result = []
    for number, row in enumerate(rows[header:], 1):
        if len(row) < STSB_COLUMNS:
            raise DataError(f"{file}, row {number}: {len(row)} column(s); {STSB_COLUMNS} or more are accepted")
        score, sentence_1, sentence_2 = row[4:STSB_COLUMNS]
        result.append({"sentence_1": sentence_1, "sentence_2": sentence_2, "score": score})
    return result


def _json_rows(file: Path) -> list[dict[str, Any]]:
    rows = read_json(file)
    if isinstance(rows, dict):
        # One line of JSON lines.
        rows = [rows]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{file}: a list of objects is accepted, and an object a line")
    return rows


def _named(rows: Any, file: str, form: Form) -> list[dict[str, Any]]:
    """Give the columns their names here."""
    columns = list(rows[0]) if isinstance(rows, list) and rows else getattr(rows, "column_names", [])
    names: dict[str, str] = {}
    for mine, known in (("sentence_1", SENTENCE_1), ("sentence_2", SENTENCE_2), ("score", SCORE)):
        theirs = (form.names[mine],) if mine in form.names else known
        found = (
            column
            for name in theirs
            for column, plain in zip(columns, form.named(columns, [name]), strict=True)
            if plain == name
        )
        column = next(found, None)
        if column is None:
            raise DataError(
                f"{file}: no column {' or '.join(theirs)} among {', '.join(columns) or 'none'}; name others with "
                "--text-column, twice, and --label-column, and what parts them with --delimiter"
            )
        names[mine] = column
    return [{mine: row.get(theirs) for mine, theirs in names.items()} for row in rows]


def _check_splits(
    splits: Mapping[str, tuple[str, list[dict[str, Any]]]], problems: Problems, scale: float | None
) -> dict[str, tuple[str, list[dict[str, Any]]]]:
    return {split: (file, _check(rows, file, problems, scale)) for split, (file, rows) in splits.items()}


def _check_ends(source: str, splits: Mapping[str, tuple[str, list[dict[str, Any]]]], scale: float | None) -> None:
    """Refuse scores that end at 1 where nobody says that they do, also of one split alone.

    Raises:
        DataError: with the source or the split, and what takes it.
    """
    greatest = {file: max(row["score"] for row in rows) for file, rows in splits.values()}
    low, high = min(greatest, key=lambda file: greatest[file]), max(greatest, key=lambda file: greatest[file])
    if scale is not None or greatest[low] > 1:
        return
    if greatest[high] <= 1:
        raise DataError(
            f"{source}: no score is above {greatest[high]:g}, and {MOST:g} stands for the same meaning; --scale 1 has "
            f"1 stand for it, once for each --data where they differ, and --scale {MOST:g} leaves the scores alone"
        )
    raise DataError(
        f"{low}: no score is above {greatest[low]:g}, and {high} has some up to {greatest[high]:g}; write both on one "
        f"scale, or, where they are, --scale {MOST:g} leaves the scores alone"
    )


def _noted(source: str, scale: float | None) -> list[str]:
    """Return what is to be said of a source whose scores became others."""
    return [f"{source}: scores of 0 to {scale:g} are taken for 0 to {MOST:g}"] if scale not in {None, MOST} else []


def _check(
    rows: Sequence[dict[str, Any]], file: str, problems: Problems, scale: float | None = None
) -> list[dict[str, Any]]:
    good, most = [], scale or MOST
    for number, row in enumerate(rows, 1):
        score = _number(row["score"], most)
        if score is None:
            reason = f"the score is {row['score']!r}; 0 to {most:g} is accepted, and another end is told with --scale"
            problems.add(file, number, reason)
            score = 0.0
        for name in SIDES:
            if not isinstance(row[name], str) or is_blank(row[name]):
                problems.add(file, number, f"{name} is {row[name]!r}; text is accepted")
        good.append({**row, "score": score, "label": int(score >= SIMILAR)})
    if not rows:
        problems.add(file, None, "there are no rows")
    return good


def _number(value: Any, most: float) -> float | None:
    """Return a score of 0 to ``most`` on the scale of this module; None for anything else."""
    if isinstance(value, dict):
        value = next((value[name] for name in NESTED_SCORE if name in value), None)
    if isinstance(value, str):
        # As much of the world writes it.
        value = value.strip().replace(",", ".")
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if math.isnan(number) or not 0 <= number <= most:
        return None
    return number if most == MOST else number * MOST / most


def _texts(row: dict[str, Any]) -> frozenset[str]:
    return frozenset((row["sentence_1"], row["sentence_2"]))


def _carve(
    train: Sequence[dict[str, Any]], fraction: float, seed: int, source: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Split off pairs, and with each pair all those that it shares a sentence with."""
    links = [(row["sentence_1"], row["sentence_2"]) for row in train]
    accepted = "pairs that do not all share sentences are accepted, or a dev set and a fraction of 0"
    # A group that is most of the data, as a sentence that stands everywhere makes, stays where the others are enough.
    small = max(1, len(train) // 100)
    labels = [row["label"] for row in train]
    return carve(train, links, fraction, seed, source=source, accepted=accepted, small=small, labels=labels)
