"""Teaches an encoder another language: its embedding of a translation is to be the teacher's of the original.

Source: Reimers and Gurevych, Making Monolingual Sentence Embeddings Multilingual using Knowledge Distillation (2020).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import EvalPrediction, PreTrainedTokenizerBase, set_seed

from trident_training.checkpoints.loading import Dropout, load_tokenizer
from trident_training.finetune.run import Prepared
from trident_training.finetune.settings import Settings
from trident_training.tasks.sts.data import Translation
from trident_training.tasks.sts.pairs import BiEncoder, load_bi_encoder

COSINE = "cosine"
#: Share of the loss that asks for the right original among those of the batch, and how sharply.
CONTRAST, TEMPERATURE = 0.2, 0.05
BATCH = 128


class Student(BiEncoder):
    """An encoder whose answer is the embedding itself."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Return ``logits``, the embeddings ``[n, hidden]``, of any length."""
        return {"logits": self.embed(input_ids, attention_mask)}


def prepare(translations: Mapping[str, Sequence[Translation]], teacher: str, settings: Settings) -> Prepared:
    """Load teacher, student and tokenizers, and embed the originals.

    Args:
        translations: ``train`` and ``validation``.
        teacher: path, hub name or bundled.
        settings: completed ones; the student is their ``model``.

    Raises:
        CheckpointError: one of the two cannot be loaded.
        ValueError: the two have embeddings of different widths.
    """
    set_seed(settings.seed)
    tokenizer = load_tokenizer(settings.model)
    loaded = load_bi_encoder(
        settings.model, settings.max_length, dropout=Dropout(settings.dropout, settings.attention_dropout)
    )
    student = Student(loaded.encoder, loaded.pooling)
    model = load_bi_encoder(teacher, 2).eval()
    if model.config.hidden_size != student.config.hidden_size:
        raise ValueError(
            f"{teacher} is {model.config.hidden_size} wide and {settings.model} {student.config.hidden_size}; "
            "teacher and student must be of one width"
        )
    rows = {}
    for split, pairs in translations.items():
        goals = embed(model, load_tokenizer(teacher), [pair.original for pair in pairs])
        ids = tokenizer([pair.translation for pair in pairs], truncation=True, max_length=settings.max_length)
        columns = {"input_ids": ids["input_ids"], "labels": goals, "length": [len(each) for each in ids["input_ids"]]}
        rows[split] = Dataset.from_dict(columns)

    def collate(batch: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        padded = tokenizer.pad({"input_ids": [row["input_ids"] for row in batch]}, return_tensors="pt")
        labels = torch.tensor([row["labels"] for row in batch])
        return {"input_ids": padded["input_ids"], "attention_mask": padded["attention_mask"], "labels": labels}

    return Prepared(
        model=student,
        tokenizer=tokenizer,
        train=rows["train"],
        validation=rows["validation"],
        collator=collate,
        compute_metrics=compute_metrics,
        primary=COSINE,
        collapsed=collapsed,
        facts={"teacher": teacher} | {f"{split}_data": _digest(pairs) for split, pairs in translations.items()},
        loss=loss,
    )


def embed(model: BiEncoder, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> npt.NDArray[Any]:
    """Return unit-norm embeddings, float32 ``[n, hidden]``; a text's end that the model does not take is left out."""
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    found = np.zeros((len(texts), model.config.hidden_size), dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            batch = tokenizer(
                [texts[index] for index in chosen], padding=True, truncation=True, max_length=256, return_tensors="pt"
            )
            rows = model.embed(batch["input_ids"], batch["attention_mask"])
            found[chosen] = nn.functional.normalize(rows, dim=1).numpy()
    return found


def loss(outputs: Mapping[str, Tensor], labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """Return how far embeddings are from their goals, and from being nearer to them than to the batch's others.

    Args:
        outputs: ``logits``, embeddings ``[n, hidden]``.
        labels: goals of unit norm ``[n, hidden]``.
        num_items_in_batch: numbers in the labels of all passes of the step, as ``Trainer`` counts them.
    """
    found = nn.functional.normalize(outputs["logits"].float(), dim=1)
    distance = 1 - (found * labels).sum(1).mean()
    right = torch.arange(len(labels), device=labels.device)
    contrast = nn.functional.cross_entropy(found @ labels.T / TEMPERATURE, right)
    share = 1.0 if num_items_in_batch is None else labels.numel() / num_items_in_batch
    return (distance + CONTRAST * contrast) * share


def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """Return the mean cosine of embeddings with their goals, both ``[n, hidden]``."""
    found = prediction.predictions / np.linalg.norm(prediction.predictions, axis=1, keepdims=True)
    return {COSINE: float((found * prediction.label_ids).sum(1).mean())}


def collapsed(epoch: Mapping[str, float]) -> str | None:
    """Say why an epoch's metrics show a collapsed model, and what to change; None when they do not."""
    if epoch[COSINE] > 0:
        return None
    return "the model collapsed: its embeddings do not point where the teacher's do. Use a lower learning rate."


def _digest(pairs: Sequence[Translation]) -> str:
    return hashlib.sha256("\n".join(f"{pair.original}\t{pair.translation}" for pair in pairs).encode()).hexdigest()
