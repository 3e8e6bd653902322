"""Prepares CoLA for a fine-tuning run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from datasets import Dataset
from transformers import DataCollatorWithPadding, EvalPrediction, PreTrainedTokenizerBase, set_seed

from trident_training.checkpoints.loading import Dropout, load_classifier, load_tokenizer
from trident_training.data.problems import DataError
from trident_training.finetune.run import Prepared
from trident_training.finetune.settings import Settings
from trident_training.metrics.decisions import F1, Accuracy
from trident_training.tasks.cola.data import AcceptabilityData
from trident_training.tasks.cola.metrics import MatthewsCorrelation

LABELS = {0: "unacceptable", 1: "acceptable"}
SHARE = "share_acceptable"


def prepare(data: AcceptabilityData, settings: Settings) -> Prepared:
    """Load model and tokenizer and tokenize the data.

    Raises:
        CheckpointError: the checkpoint cannot be loaded, or takes fewer tokens than ``settings.max_length``.
        DataError: the sentences to learn from, or those to choose by, all have one label.
    """
    check_labels(data, "train", "validation")
    # The head's first weights are drawn here.
    set_seed(settings.seed)
    tokenizer = load_tokenizer(settings.model)
    model = load_classifier(
        settings.model, LABELS, settings.max_length, dropout=Dropout(settings.dropout, settings.attention_dropout)
    )
    return Prepared(
        model=model,
        tokenizer=tokenizer,
        train=tokenize(data.splits["train"], tokenizer, settings.max_length),
        validation=tokenize(data.splits["validation"], tokenizer, settings.max_length),
        collator=DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8),
        compute_metrics=compute_metrics,
        primary=MatthewsCorrelation.primary,
        collapsed=collapsed,
        facts={"train_data": data.digest("train"), "validation_data": data.digest("validation")},
    )


def check_labels(data: AcceptabilityData, *splits: str) -> None:
    """Refuse splits of one label, on which every model is a collapsed one.

    Raises:
        DataError: with the split and its label.
    """
    for split in splits:
        labels = set(data.splits[split]["label"])
        if len(labels) < 2:
            found = ", ".join(f"{label} ({LABELS[label]})" for label in labels)
            raise DataError(
                f"every sentence of the {split} set has the label {found}; some of 0 and some of 1 are needed"
            )


def tokenize(rows: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Dataset:
    """Return the rows as token ids with labels and lengths."""

    def encode(batch: Mapping[str, list[str]]) -> dict[str, list[object]]:
        encoded = tokenizer(batch["sentence"], truncation=True, max_length=max_length)
        return {**encoded, "labels": batch["label"], "length": [len(ids) for ids in encoded["input_ids"]]}

    return rows.map(encode, batched=True, remove_columns=rows.column_names, keep_in_memory=True)


def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """Return CoLA's metrics, and the share of sentences called acceptable, of logits ``[n, 2]``."""
    logits = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
    return score(np.argmax(logits, axis=1), np.asarray(prediction.label_ids))


def score(predictions: npt.NDArray[Any], references: npt.NDArray[Any]) -> dict[str, float]:
    """Return Matthews correlation, accuracy, F1 and share called acceptable of 0/1 arrays ``[n]``."""
    result: dict[str, float] = {}
    for metric in (MatthewsCorrelation(), Accuracy(), F1()):
        result |= metric.compute(predictions=predictions, references=references)
    return result | {SHARE: float(np.mean(predictions))}


def collapsed(epoch: Mapping[str, float]) -> str | None:
    """Say why an epoch's metrics show a collapsed model, and what to change; None when they do not."""
    share = epoch[SHARE]
    if share in {0.0, 1.0}:
        found = f"every sentence is called {LABELS[int(share)]}"
    elif epoch[MatthewsCorrelation.primary] == 0:
        found = "its predictions do not depend on the labels"
    else:
        return None
    return (
        f"the model collapsed: {found}. Use a lower learning rate, a longer warm-up, a smaller batch or more epochs; "
        "another seed can be enough."
    )
