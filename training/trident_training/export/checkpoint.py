"""Loads what is exported: a Hugging Face encoder and its tokenizer, by local path or hub name."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModel, AutoTokenizer, PreTrainedModel


class CheckpointError(ValueError):
    """A checkpoint that cannot be exported; the text says why."""


def load_encoder(checkpoint: str | Path) -> PreTrainedModel:
    """Load an encoder without a task's head, in float32, ready for inference."""
    return AutoModel.from_pretrained(str(checkpoint), dtype=torch.float32).eval()


def tokenizer_json(checkpoint: str | Path) -> str:
    """Return the checkpoint's tokenizer in the Rust library's form.

    Raises:
        CheckpointError: the tokenizer has no Rust form.
    """
    tokenizer = AutoTokenizer.from_pretrained(str(checkpoint))
    if not tokenizer.is_fast:
        raise CheckpointError(
            f"{type(tokenizer).__name__} of {checkpoint} has no Rust form (tokenizer.json), which serving needs"
        )
    return tokenizer.backend_tokenizer.to_str()
