"""Predicts the probability of label 1 by a classifier in memory and by an export, in the same form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trident_training.export.parity import ragged
from trident_training.tasks.base import Exported

#: Sentences of one forward pass.
BATCH = 64


def predict(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sentences: Sequence[str], max_length: int
) -> npt.NDArray[Any]:
    """Return the probabilities of label 1 by a classifier as it stands, float32 ``[n]``."""
    logits = torch.from_numpy(logits_of(model, tokenizer, sentences, max_length))
    return torch.softmax(logits, dim=1)[:, 1].numpy()


def logits_of(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sentences: Sequence[str], max_length: int
) -> npt.NDArray[Any]:
    """Return the logits of both labels by a classifier as it stands, float32 ``[n, 2]``."""
    order = sorted(range(len(sentences)), key=lambda index: len(sentences[index]))
    logits = np.zeros((len(sentences), 2), dtype=np.float32)
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
            logits[chosen] = model(**batch).logits.float().cpu().numpy()
    return logits


def predict_exported(export: Exported, sentences: Sequence[str]) -> npt.NDArray[Any]:
    """Return the probabilities of label 1 by an export, called as Triton calls it, float32 ``[n]``."""
    encoder = Tokenizer.from_str(export.tokenizer)
    encoder.no_padding()
    encoder.enable_truncation(export.max_tokens)
    encoded = [torch.tensor(each.ids) for each in encoder.encode_batch(list(sentences))]
    batches = [encoded[start : start + BATCH] for start in range(0, len(encoded), BATCH)]
    with torch.inference_mode():
        return torch.cat([export.module(*ragged(batch)) for batch in batches])[:, 0].numpy()
