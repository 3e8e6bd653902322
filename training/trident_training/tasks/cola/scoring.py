"""Scores acceptability judgements, of a checkpoint, a running server or an export, by the same rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from tokenizers import Tokenizer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trident_training.checkpoints.loading import load_classifier, load_tokenizer
from trident_training.export.parity import ragged
from trident_training.tasks.cola.metrics import BySource
from trident_training.tasks.cola.training import LABELS, score

#: Probability of being acceptable above which a sentence is called so: where both labels' logits are equal.
THRESHOLD = 0.5
BATCH = 64

#: Gives P(acceptable), float ``[n]``, of sentences.
Judge = Callable[[Sequence[str]], npt.NDArray[Any]]


def evaluate_acceptability(judge: Judge, rows: Dataset) -> dict[str, Any]:
    """Return CoLA's metrics, and those of each source where the rows name theirs.

    Args:
        judge: what is scored.
        rows: ``sentence``, ``label`` and ``source``.
    """
    return score_probabilities(judge(rows["sentence"]), rows)


def score_probabilities(probabilities: npt.ArrayLike, rows: Dataset) -> dict[str, Any]:
    """Return the metrics of P(acceptable), float ``[n]``; otherwise as :func:`evaluate_acceptability`."""
    predictions = (np.asarray(probabilities) > THRESHOLD).astype(int)
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


def exported_judge(module: torch.jit.ScriptModule, tokenizer: str, max_tokens: int) -> Judge:
    """Return the judge that an exported classifier is, called as Triton calls it.

    Args:
        module: the entry: ragged token ids to P(acceptable).
        tokenizer: in the Rust library's JSON form.
        max_tokens: what a sentence is cut to.
    """
    encoder = Tokenizer.from_str(tokenizer)
    encoder.no_padding()
    encoder.enable_truncation(max_tokens)

    def judge(sentences: Sequence[str]) -> npt.NDArray[Any]:
        encoded = [torch.tensor(each.ids) for each in encoder.encode_batch(list(sentences))]
        batches = [encoded[start : start + BATCH] for start in range(0, len(encoded), BATCH)]
        with torch.inference_mode():
            return torch.cat([module(*ragged(batch)) for batch in batches])[:, 0].numpy()

    return judge


def _judge(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sentences: Sequence[str], max_length: int
) -> npt.NDArray[Any]:
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
