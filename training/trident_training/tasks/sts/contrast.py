"""Teaches a sentence encoder by sentences that mean the same, before it learns from graded pairs.

Of a batch's sentences, each anchor is to find its positive among the positives and hard negatives of all, and each
positive its anchor. Sources: van den Oord et al., Representation Learning with Contrastive Predictive Coding (2018);
Gao et al., SimCSE (2021), for natural language inference with contradictions as hard negatives.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import EvalPrediction, PreTrainedTokenizerBase, set_seed

from trident_training.checkpoints.loading import Dropout, load_tokenizer
from trident_training.finetune.processes import gathered
from trident_training.finetune.run import Prepared
from trident_training.finetune.settings import Settings
from trident_training.tasks.sts.choices import Kind
from trident_training.tasks.sts.metrics import Spearman
from trident_training.tasks.sts.pairs import BiEncoder, load_bi_encoder
from trident_training.tasks.sts.training import collapsed, collator, score, tokenize
from trident_training.tasks.sts.triplets import Triplet

#: How sharply the right sentence is asked for.
TEMPERATURE = 0.05


class Contrasted(BiEncoder):
    """An encoder whose answer is the embeddings in training, and the pairs' cosines in evaluation."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Return ``embeddings`` ``[sequences, hidden]``, of any length; in evaluation ``logits`` as its base does."""
        if self.training:
            return {"embeddings": self.embed(input_ids, attention_mask)}
        return super().forward(input_ids, attention_mask)


def prepare(triplets: Sequence[Triplet], pairs: Dataset, settings: Settings) -> Prepared:
    """Load model and tokenizer and tokenize the data.

    Args:
        triplets: what is learned from.
        pairs: with ``sentence_1``, ``sentence_2``, ``score`` and ``label``; the best epoch is that with the best rank
            correlation on them.
        settings: completed ones.

    Raises:
        CheckpointError: the model cannot be loaded.
    """
    set_seed(settings.seed)
    tokenizer = load_tokenizer(settings.model)
    loaded = load_bi_encoder(
        settings.model, settings.max_length, dropout=Dropout(settings.dropout, settings.attention_dropout)
    )
    scored = collator(tokenizer, Kind.BI_ENCODER)

    def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        # Groups are whole numbers and similarities are not; the trainer knows both as labels alone.
        return contrasting(rows, tokenizer) if isinstance(rows[0]["labels"], int) else scored(rows)

    return Prepared(
        model=Contrasted(loaded.encoder, loaded.pooling),
        tokenizer=tokenizer,
        train=_tokenized(triplets, tokenizer, settings.max_length),
        validation=tokenize(pairs, tokenizer, Kind.BI_ENCODER, settings.max_length),
        collator=collate,
        compute_metrics=lambda prediction: _scored(prediction, pairs),
        primary=Spearman.primary,
        collapsed=collapsed,
        facts={"train_data": hashlib.sha256(json.dumps(triplets).encode()).hexdigest()},
        loss=loss,
    )


def contrasting(rows: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase) -> dict[str, Tensor]:
    """Return a batch: all anchors, all positives, then the negatives that there are.

    Returns:
        ``input_ids`` and ``attention_mask`` ``[n + n + negatives, L]``, and ``labels``, the groups ``[n]``.
    """
    ids = [row["input_ids"][side] for side in range(3) for row in rows if side < len(row["input_ids"])]
    batch = tokenizer.pad({"input_ids": ids}, pad_to_multiple_of=8, return_tensors="pt")
    labels = torch.tensor([row["labels"] for row in rows])
    return {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"], "labels": labels}


def loss(outputs: Mapping[str, Tensor], labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """Return how unsurely each sentence finds its like: cross entropies of cosines over the temperature.

    In training, it looks among the sentences of all processes.

    Args:
        outputs: ``embeddings`` as :func:`contrasting` orders them; in evaluation ``logits``, cosines ``[n]``.
        labels: groups ``[n]``, whose members are not held against one another; in evaluation similarities, 0 to 1.
        num_items_in_batch: rows of all passes of the step, as ``Trainer`` counts them.
    """
    if "embeddings" not in outputs:
        return nn.functional.mse_loss(outputs["logits"].float(), labels)
    found = nn.functional.normalize(outputs["embeddings"].float(), dim=1)
    share = 1.0 if num_items_in_batch is None else len(labels) / num_items_in_batch
    anchors, positives, negatives = found.split([len(labels), len(labels), len(found) - 2 * len(labels)])
    anchors, positives, negatives, labels = (gathered(each) for each in (anchors, positives, negatives, labels))
    right = torch.arange(len(labels), device=labels.device)
    like = (labels[:, None] == labels) & (right[:, None] != right)
    among = (anchors @ positives.T / TEMPERATURE).masked_fill(like, -torch.inf)
    forth = nn.functional.cross_entropy(torch.cat([among, anchors @ negatives.T / TEMPERATURE], dim=1), right)
    back = nn.functional.cross_entropy(among.T, right)
    return (forth + back) / 2 * share


def _tokenized(triplets: Sequence[Triplet], tokenizer: PreTrainedTokenizerBase, max_length: int) -> Dataset:
    """Return for each triplet the token ids of its two or three sentences, its group as label and its length."""
    rows = []
    for triplet in triplets:
        texts = [triplet.anchor, triplet.positive, *([triplet.negative] if triplet.negative else [])]
        ids = tokenizer(texts, truncation=True, max_length=max_length)["input_ids"]
        rows.append({"input_ids": ids, "labels": triplet.group, "length": max(map(len, ids))})
    return Dataset.from_list(rows)


def _scored(prediction: EvalPrediction, pairs: Dataset) -> dict[str, float]:
    return score(np.asarray(prediction.predictions), pairs)
