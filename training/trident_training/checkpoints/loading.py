"""Loads pretrained models and tokenizers: a local path, a hub name, or a bundled encoder at any depth."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from transformers import (
    MODEL_FOR_TEXT_ENCODING_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTextEncoding,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from trident_training.checkpoints.bundled import find_bundled, location
from trident_training.checkpoints.errors import CheckpointError
from trident_training.checkpoints.positions import most_tokens
from trident_training.checkpoints.sentencepiece import convert, sentencepiece_file
from trident_training.data.problems import one_line

#: What configurations call the dropout of attention probabilities; all others are of hidden states, heads' among them.
ATTENTION_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout")
#: What tokenizers' files are called.
TOKENIZER_FILES = ("tokenizer*", "vocab*", "*.model")


class Dropout(NamedTuple):
    """Dropout in training, 0 to 1: of hidden states, also in the head, and of attention; its own where None."""

    hidden: float | None = None
    attention: float | None = None


OWN_DROPOUT = Dropout()


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


def load_config(name: str) -> PreTrainedConfig:
    """Return a checkpoint's configuration; ``base-6`` is the lowest 6 layers of ``base``.

    Raises:
        CheckpointError: nothing can be loaded under this name, or the bundled encoder is not that deep.
    """
    bundled = find_bundled(name)
    config = cast(PreTrainedConfig, _load(AutoConfig.from_pretrained, name))
    if bundled and bundled.layers is not None:
        if not 1 <= bundled.layers <= config.num_hidden_layers:
            raise CheckpointError(f"'{name}': the bundled encoder has {config.num_hidden_layers} layers, so 1 to that")
        config.num_hidden_layers = bundled.layers
    return config


def load_tokenizer(name: str | Path) -> PreTrainedTokenizerBase:
    """Return a checkpoint's tokenizer; a local SentencePiece model without a Rust form is converted.

    Some encoders without token types, RoBERTa's kind, come with BERT's tokenizer: it then gives none.

    Raises:
        CheckpointError: there is none.
    """
    name = str(name)
    if Path(name).is_dir() and not any(any(Path(name).glob(files)) for files in TOKENIZER_FILES):
        # transformers would make up an empty one from the model's architecture.
        raise CheckpointError(f"{name} has no tokenizer; its files are needed beside the model's")
    try:
        return cast(PreTrainedTokenizerBase, _load(_read_tokenizer, name))
    # The Rust library has errors of no kind of its own.
    except Exception as error:
        said = str(error) if isinstance(error, CheckpointError) else f"'{name}' cannot be loaded: {one_line(error)}"
        files = "; what is read is tokenizer.json and tokenizer_config.json" if Path(name).is_dir() else ""
        raise CheckpointError(said + files) from error


def tokenizer_json(name: str | Path) -> str:
    """Return the checkpoint's tokenizer in the Rust library's form.

    Raises:
        CheckpointError: there is none, or it has no Rust form.
    """
    tokenizer = load_tokenizer(name)
    if not tokenizer.is_fast:
        raise CheckpointError(
            f"{type(tokenizer).__name__} of {name} has no Rust form (tokenizer.json), which serving needs"
        )
    return cast(str, tokenizer.backend_tokenizer.to_str())


def load_encoder(name: str | Path) -> PreTrainedModel:
    """Return an encoder without a task's head, in float32, ready for inference."""
    kind = class_of(AutoModel, str(name), load_config(str(name)))
    return cast(PreTrainedModel, kind.from_pretrained(location(str(name)), dtype=torch.float32).eval())


def class_of(kind: Any, name: str, config: PreTrainedConfig) -> Any:
    """Return the class that loads a checkpoint: of one with a decoder, T5's kind, that of its encoder alone.

    Args:
        kind: the automatic class of transformers that is asked for, such as ``AutoModel``.
        name: the checkpoint's, for errors.
        config: the checkpoint's.

    Raises:
        CheckpointError: the checkpoint has a decoder, on which a task's head would stand.
    """
    # An encoder that was saved alone says of itself that it has no decoder, and the automatic classes make one.
    if not type(config).is_encoder_decoder:
        return kind
    if kind is not AutoModel:
        raise CheckpointError(
            f"{name} is of the type {config.model_type}, whose heads stand on a decoder, which is not served; encoders "
            "of BERT's kind are accepted, and for a bi-encoder of sts those of T5's"
        )
    return AutoModelForTextEncoding if type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING else kind


def load_with_head(name: str | Path, head: Any) -> PreTrainedModel:
    """Return a fine-tuned model with its task's head, in float32, ready for inference.

    Args:
        name: path, hub name or ``bundled``.
        head: the task's class of transformers, such as ``AutoModelForSequenceClassification``.

    Raises:
        CheckpointError: the checkpoint has no trained head, or one on a decoder.
    """
    head = class_of(head, str(name), load_config(str(name)))
    model, report = head.from_pretrained(location(str(name)), dtype=torch.float32, output_loading_info=True)
    if report["missing_keys"]:
        raise CheckpointError(
            f"{name} is not fine-tuned: it has no {', '.join(sorted(report['missing_keys']))}; a folder or hub "
            f"name that {head.__name__} takes is accepted"
        )
    return cast(PreTrainedModel, model.eval())


def load_classifier(
    name: str,
    labels: Mapping[int, str],
    max_length: int,
    *,
    dropout: Dropout = OWN_DROPOUT,
    fine_tuned: bool = False,
    several: bool = False,
) -> PreTrainedModel:
    """Return a checkpoint with a sequence classification head, in float32.

    Args:
        name: path, hub name, or ``bundled`` with an optional depth.
        labels: the head's labels by index.
        max_length: tokens it must take.
        dropout: in training.
        fine_tuned: whether its head must be there; one that is lacking is drawn at random otherwise.
        several: whether a text may have any number of the labels, each being learned by itself.

    Raises:
        CheckpointError: nothing can be loaded under this name, or it takes fewer tokens, or has no head.
    """
    config = load_config(name)
    config.num_labels = len(labels)
    config.problem_type = "multi_label_classification" if several else None
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
    for attribute in [each for each in vars(config) if "dropout" in each]:
        value = dropout.attention if attribute in ATTENTION_DROPOUT else dropout.hidden
        if value is not None:
            setattr(config, attribute, value)
    kind = class_of(kind, name, config)
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
        raise CheckpointError(f"'{name}' cannot be loaded: {one_line(error)}") from error


def _read_tokenizer(path: str) -> PreTrainedTokenizerBase:
    file = sentencepiece_file(path)
    # Without AutoConfig, which wants a model to be there too.
    configuration, _ = PreTrainedConfig.get_config_dict(path)
    model_type = configuration.get("model_type", "")
    tokenizer = convert(file, model_type) if file else AutoTokenizer.from_pretrained(path)
    if configuration.get("type_vocab_size", 2) < 2:
        tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name != "token_type_ids"]
    return cast(PreTrainedTokenizerBase, tokenizer)
