"""Prepares sentence similarity for a fine-tuning run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from transformers import EvalPrediction, PreTrainedTokenizerBase, set_seed

from trident_training.checkpoints.cleaning import with_cleaning
from trident_training.checkpoints.loading import Dropout, load_tokenizer
from trident_training.data.problems import DataError
from trident_training.finetune.run import Prepared
from trident_training.finetune.settings import Settings
from trident_training.metrics.decisions import F1, Accuracy
from trident_training.tasks.sts.choices import Kind, PairSettings
from trident_training.tasks.sts.data import MOST, SIMILAR, SimilarityData
from trident_training.tasks.sts.metrics import Pearson, Spearman, best_threshold
from trident_training.tasks.sts.pairs import load_pair_model, loss_function, similarities


def prepare(data: SimilarityData, settings: Settings, choices: PairSettings) -> Prepared:
    """Load model and tokenizer and tokenize the data.

    Raises:
        CheckpointError: the checkpoint cannot be loaded, or takes fewer tokens than ``settings.max_length``.
        DataError: no pair is similar, as where scores end at 1, so that no threshold can be found.
    """
    for split in ("train", "validation"):
        if not any(data.splits[split]["label"]):
            raise DataError(
                f"no pair of the {split} set has a similarity of {SIMILAR:g} or more; scores from 0 to {MOST:g} are "
                "accepted, and others with --scale"
            )
    set_seed(settings.seed)
    tokenizer = with_cleaning(load_tokenizer(settings.model), choices.cleaning)
    model = load_pair_model(
        settings.model,
        choices.kind,
        settings.max_length,
        pooling=choices.pooling,
        dropout=Dropout(settings.dropout, settings.attention_dropout),
    )
    validation = data.splits["validation"]

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        return score(similarities(choices.kind, torch.from_numpy(prediction.predictions)).numpy(), validation)

    return Prepared(
        model=model,
        tokenizer=tokenizer,
        train=tokenize(data.splits["train"], tokenizer, choices.kind, settings.max_length),
        validation=tokenize(validation, tokenizer, choices.kind, settings.max_length),
        collator=collator(tokenizer, choices.kind),
        compute_metrics=compute_metrics,
        primary=choices.primary,
        collapsed=collapsed,
        facts={
            "train_data": data.digest("train"),
            "validation_data": data.digest("validation"),
            **asdict(choices),
        },
        loss=loss_function(choices.kind, choices.loss),
    )


def tokenize(rows: Dataset, tokenizer: PreTrainedTokenizerBase, kind: Kind, max_length: int) -> Dataset:
    """Return the pairs as token ids with the similarity, 0 to 1, as label, and their length.

    A bi-encoder's row holds the ids of both sentences, one list after the other; the other kinds' one sequence of both.
    """

    def encode(batch: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        labels = [score / MOST for score in batch["score"]]
        if kind is Kind.BI_ENCODER:
            sides = [
                tokenizer(batch[side], truncation=True, max_length=max_length)["input_ids"]
                for side in ("sentence_1", "sentence_2")
            ]
            pairs = [list(pair) for pair in zip(*sides, strict=True)]
            return {"input_ids": pairs, "labels": labels, "length": [max(map(len, pair)) for pair in pairs]}
        encoded = tokenizer(batch["sentence_1"], batch["sentence_2"], truncation=True, max_length=max_length)
        return {**encoded, "labels": labels, "length": [len(ids) for ids in encoded["input_ids"]]}

    return rows.map(encode, batched=True, remove_columns=rows.column_names, keep_in_memory=True)


def collator(
    tokenizer: PreTrainedTokenizerBase, kind: Kind
) -> Callable[[Sequence[Mapping[str, Any]]], dict[str, torch.Tensor]]:
    """Return what makes a batch of :func:`tokenize`'s rows; a bi-encoder's first sentences come before all second."""

    def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        if kind is Kind.BI_ENCODER:
            sequences: dict[str, list[Any]] = {"input_ids": [row["input_ids"][side] for side in (0, 1) for row in rows]}
        else:
            names = [name for name in tokenizer.model_input_names if name in rows[0]]
            sequences = {name: [row[name] for row in rows] for name in names}
        batch = dict(tokenizer.pad(sequences, pad_to_multiple_of=8, return_tensors="pt"))
        if kind is Kind.BI_ENCODER:
            batch.pop("token_type_ids", None)
        return batch | {"labels": torch.tensor([row["labels"] for row in rows], dtype=torch.float32)}

    return collate


def score(scores: npt.NDArray[Any], rows: Dataset, threshold: float | None = None) -> dict[str, float]:
    """Return the metrics of similarities ``[n]``.

    Args:
        scores: what was predicted.
        rows: with gold ``score`` and ``label``.
        threshold: similarity from which a pair is called similar; the best one on these rows when None.
    """
    if threshold is None:
        threshold = best_threshold(scores, rows["label"])
    called = (np.asarray(scores) >= threshold).astype(int)
    result = {"threshold": threshold}
    for correlation in (Spearman(), Pearson()):
        result |= correlation.compute(predictions=scores, references=rows["score"])
    for decision in (F1(), Accuracy()):
        result |= decision.compute(predictions=called, references=rows["label"])
    return result


def collapsed(epoch: Mapping[str, float]) -> str | None:
    """Say why an epoch's metrics show a collapsed model, and what to change; None when they do not."""
    if epoch[Spearman.primary] > 0 or epoch[Pearson.primary] > 0:
        return None
    return (
        "the model collapsed: what it answers does not rise with the gold similarity. Use a lower learning rate, a "
        "longer warm-up or more epochs."
    )
