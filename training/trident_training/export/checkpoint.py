"""Loads what is exported: a Hugging Face encoder and its tokenizer, by local path or hub name."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import AutoModel, AutoTokenizer, PreTrainedModel
from transformers.utils import logging


class CheckpointError(ValueError):
    """A checkpoint that cannot be exported; the text says why."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' progress bars and notes out of a command's own lines; errors still show."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logging.enable_progress_bar()
        logging.set_verbosity(verbosity)


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
