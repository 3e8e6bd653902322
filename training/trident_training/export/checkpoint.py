"""Loads what is exported: a Hugging Face encoder and its tokenizer, by local path or hub name."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import AutoModel, AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
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


def load_with_head(checkpoint: str | Path, head: type) -> PreTrainedModel:
    """Load a fine-tuned model with its task's head, in float32, ready for inference.

    Args:
        checkpoint: local path or hub name.
        head: the task's class of transformers, such as ``AutoModelForSequenceClassification``.

    Raises:
        CheckpointError: the checkpoint has no trained head.
    """
    model, report = head.from_pretrained(str(checkpoint), dtype=torch.float32, output_loading_info=True)
    if report["missing_keys"]:
        raise CheckpointError(
            f"{checkpoint} is not fine-tuned: it has no {', '.join(sorted(report['missing_keys']))}; a folder or hub "
            f"name that {head.__name__} takes is accepted"
        )
    return model.eval()


def load_tokenizer(checkpoint: str | Path) -> PreTrainedTokenizerBase:
    """Load a tokenizer; a local SentencePiece model without a Rust form is converted.

    Some encoders without token types, RoBERTa's kind, come with BERT's tokenizer: it then gives none.
    """
    from trident_training.sentencepiece import convert, sentencepiece_file

    file = sentencepiece_file(checkpoint)
    tokenizer = convert(file) if file else AutoTokenizer.from_pretrained(str(checkpoint))
    # Without AutoConfig, which wants a model to be there too.
    configuration, _ = PreTrainedConfig.get_config_dict(str(checkpoint))
    if configuration.get("type_vocab_size", 2) < 2:
        tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]
    return tokenizer


def tokenizer_json(checkpoint: str | Path) -> str:
    """Return the checkpoint's tokenizer in the Rust library's form.

    Raises:
        CheckpointError: the tokenizer has no Rust form.
    """
    tokenizer = load_tokenizer(checkpoint)
    if not tokenizer.is_fast:
        raise CheckpointError(
            f"{type(tokenizer).__name__} of {checkpoint} has no Rust form (tokenizer.json), which serving needs"
        )
    return tokenizer.backend_tokenizer.to_str()
