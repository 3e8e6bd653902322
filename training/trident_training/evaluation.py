"""Scores acceptability judgements, of a checkpoint or of a running server, by the same rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trident_training.checkpoints.loading import load_classifier, load_tokenizer
from trident_training.finetune.acceptability import LABELS, score
from trident_training.metrics import BySource

#: Probability of being acceptable above which a sentence is called so: where both labels' logits are equal.
THRESHOLD = 0.5
BATCH = 64

#: Gives P(acceptable), float ``[n]``, of sentences.
Judge = Callable[[Sequence[str]], np.ndarray]


def evaluate_acceptability(judge: Judge, rows: Dataset) -> dict[str, Any]:
    """Return CoLA's metrics, and those of each source where the rows name theirs.

    Args:
        judge: what is scored.
        rows: ``sentence``, ``label`` and ``source``.
    """
    predictions = (np.asarray(judge(rows["sentence"])) > THRESHOLD).astype(int)
    result: dict[str, Any] = score(predictions, np.array(rows["label"]))
    if any(rows["source"]):
        result |= BySource().compute(predictions=predictions, references=rows["label"], sources=rows["source"])
    return result


def checkpoint_judge(checkpoint: str, max_length: int) -> Judge:
    """Return the judge that a checkpoint is, in float32.

    Raises:
        CheckpointError: it cannot be loaded, or takes fewer than ``max_length`` tokens.
    """
    return model_judge(
        load_classifier(checkpoint, LABELS, max_length, fine_tuned=True).eval(), load_tokenizer(checkpoint), max_length
    )


def model_judge(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Judge:
    """Return the judge that a classifier in memory is, with whatever weights it has when it is asked."""
    return lambda sentences: _judge(model, tokenizer, sentences, max_length)


def server_judge(url: str, protocol: str) -> Judge:
    """Return the judge that a running server is; errors are the client's."""
    from trident_client import TridentClient

    def judge(sentences: Sequence[str]) -> np.ndarray:
        with TridentClient(url, protocol=protocol) as client:
            return client.acceptability(sentences)

    return judge


def _judge(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sentences: Sequence[str], max_length: int
) -> np.ndarray:
    order = sorted(range(len(sentences)), key=lambda index: len(sentences[index]))
    probabilities = np.zeros(len(sentences), dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            batch = tokenizer(
                [sentences[index] for index in chosen],
                truncation=True,
                max_length=max_length,
                padding=True,
                return_tensors="pt",
            ).to(model.device)
            probabilities[chosen] = torch.softmax(model(**batch).logits, dim=1)[:, 1].cpu().numpy()
    return probabilities
