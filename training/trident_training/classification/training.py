"""Prepares labelled texts for a fine-tuning run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from datasets import Dataset
from transformers import DataCollatorWithPadding, EvalPrediction, PreTrainedTokenizerBase, set_seed

from trident_training.checkpoints.loading import Dropout, load_classifier, load_tokenizer
from trident_training.classification.data import LabelledData, texts_of
from trident_training.classification.task import Classification
from trident_training.data.problems import DataError
from trident_training.finetune.run import Prepared
from trident_training.finetune.settings import Settings, SettingsError


def prepare(task: Classification, data: LabelledData, settings: Settings) -> Prepared:
    """Load model and tokenizer and tokenize the data.

    Raises:
        CheckpointError: the checkpoint cannot be loaded, or takes fewer tokens than ``settings.max_length``.
        DataError: the sentences to learn from, or those to choose by, all have one label.
        SettingsError: labels are to be smoothed, and a text may have several.
    """
    task.check(data)
    # The trainer smooths over labels of which a text has one.
    if task.independent(data) and settings.label_smoothing:
        raise SettingsError(f"label_smoothing {settings.label_smoothing:g} is not for texts with several labels; 0 is")
    labels = task.outputs(data)
    # The head's first weights are drawn here.
    set_seed(settings.seed)
    tokenizer = load_tokenizer(settings.model)
    model = load_classifier(
        settings.model,
        labels,
        settings.max_length,
        dropout=Dropout(settings.dropout, settings.attention_dropout),
        several=task.independent(data),
    )
    validation = data.splits["validation"]

    def compute(prediction: EvalPrediction) -> dict[str, float]:
        return task.measured(_logits(prediction), validation, data)

    return Prepared(
        model=model,
        tokenizer=tokenizer,
        train=tokenize(data.splits["train"], tokenizer, settings.max_length, lambda label: task.target(label, data)),
        validation=tokenize(validation, tokenizer, settings.max_length, lambda label: task.target(label, data)),
        collator=DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8),
        compute_metrics=compute,
        primary=task.primary,
        collapsed=collapsed_of(task),
        facts={"train_data": data.digest("train"), "validation_data": data.digest("validation")},
    )


def check_labels(task: Classification, data: LabelledData, *splits: str) -> None:
    """Refuse splits of one label, on which every model is a collapsed one.

    Raises:
        DataError: with the split and its label.
    """
    for split in splits:
        labels = set(data.splits[split]["label"])
        if len(labels) < 2:
            found = ", ".join(f"{label} ({task.labels[label]})" for label in labels)
            raise DataError(
                f"every sentence of the {split} set has the label {found}; some of 0 and some of 1 are needed: two "
                "or more of each to carve from, or a dev set of the data's own and --validation-fraction 0"
            )


def tokenize(
    rows: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    target: Callable[[Any], object] = lambda label: label,
) -> Dataset:
    """Return the rows as token ids with labels, as the loss takes them, and lengths."""

    def encode(batch: Mapping[str, list[str]]) -> dict[str, list[object]]:
        encoded = tokenizer(texts_of(batch), truncation=True, max_length=max_length)
        labels: list[object] = [target(label) for label in batch["label"]]
        return {**encoded, "labels": labels, "length": [len(ids) for ids in encoded["input_ids"]]}

    return rows.map(encode, batched=True, remove_columns=rows.column_names, keep_in_memory=True)


def _logits(prediction: EvalPrediction) -> npt.NDArray[Any]:
    logits: Any = prediction.predictions
    return np.asarray(logits[0] if isinstance(logits, tuple) else logits)


def metrics_of(task: Classification) -> Callable[[EvalPrediction], dict[str, float]]:
    """Return what makes the task's metrics of logits ``[n, 2]``."""

    def compute(prediction: EvalPrediction) -> dict[str, float]:
        return task.decided(np.argmax(_logits(prediction), axis=1), np.asarray(prediction.label_ids))

    return compute


def collapsed_of(task: Classification) -> Callable[[Mapping[str, float]], str | None]:
    """Return what says why an epoch's metrics show a collapsed model, and what to change; None when they do not."""

    def collapsed(epoch: Mapping[str, float]) -> str | None:
        found = task.collapsed(epoch)
        if found is None:
            return None
        return (
            f"the model collapsed: {found}. Use a lower learning rate, a longer warm-up, a smaller batch or more "
            "epochs; another seed can be enough."
        )

    return collapsed
