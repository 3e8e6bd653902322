"""Predicts by a classifier in memory and by an export, in the same form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from trident_training.export.heads import has_exclusive_labels
from trident_training.export.parity import marked, ragged
from trident_training.tasks.base import Exported

#: Texts of one forward pass.
BATCH = 64
Texts = Sequence[str | tuple[str, str]]


def predict(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Texts, max_length: int
) -> npt.NDArray[Any]:
    """Return the probabilities of label 1 by a classifier as it stands, float32 ``[n]``."""
    logits = torch.from_numpy(logits_of(model, tokenizer, texts, max_length))
    return torch.softmax(logits, dim=1)[:, 1].numpy()


def scores_of(logits: npt.ArrayLike, config: PreTrainedConfig) -> npt.NDArray[Any]:
    """Return the scores of all labels that a classifier's logits make, as they are served, float32 ``[n, labels]``."""
    given = torch.as_tensor(np.asarray(logits)).float()
    return (torch.softmax(given, dim=1) if has_exclusive_labels(config) else torch.sigmoid(given)).numpy()


def logits_of(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Texts, max_length: int
) -> npt.NDArray[Any]:
    """Return the logits of all labels by a classifier as it stands, float32 ``[n, labels]``."""
    order = sorted(range(len(texts)), key=lambda index: len("".join(texts[index])))
    logits = np.zeros((len(texts), int(model.config.num_labels or 0)), dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            batch = tokenizer(
                [texts[index] for index in chosen],
                truncation=True,
                max_length=max_length,
                padding=True,
                return_tensors="pt",
            ).to(model.device)
            logits[chosen] = model(**batch).logits.float().cpu().numpy()
    return logits


def predict_exported(export: Exported, texts: Texts) -> npt.NDArray[Any]:
    """Return the scores of an export's labels, called as Triton calls it, float32 ``[n, labels]``."""
    encoder = Tokenizer.from_str(export.tokenizer)
    encoder.no_padding()
    encoder.enable_truncation(export.max_tokens)
    encoded = [torch.tensor(marked(each.ids, each.type_ids)) for each in encoder.encode_batch(list(texts))]
    batches = [encoded[start : start + BATCH] for start in range(0, len(encoded), BATCH)]
    with torch.inference_mode():
        answers = [export.module(*ragged(batch)) for batch in batches]
    return torch.cat([each[0] if isinstance(each, tuple) else each for each in answers]).numpy()
