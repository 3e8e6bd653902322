"""Tiny, randomly initialised encoders of every architecture that is served."""

from collections.abc import Callable

import pytest
import torch
import transformers
from trident_training.checkpoints.loading import class_of

SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 66,
    "num_labels": 2,
}
#: The same under T5's names, where there is no table of positions.
T5_SIZES = {"vocab_size": 97, "d_model": 32, "num_layers": 2, "num_heads": 4, "d_ff": 48}
CONFIGURATIONS = {
    "bert": lambda: transformers.BertConfig(**SIZES),
    "roberta": lambda: transformers.RobertaConfig(**SIZES, pad_token_id=1, bos_token_id=0, eos_token_id=2),
    "electra": lambda: transformers.ElectraConfig(**SIZES, embedding_size=16),
    "albert": lambda: transformers.AlbertConfig(**SIZES, embedding_size=16),
    "distilbert": lambda: transformers.DistilBertConfig(
        vocab_size=97, dim=32, n_layers=2, n_heads=4, hidden_dim=48, max_position_embeddings=66, num_labels=2
    ),
    # A bias on distances, in attention of its own.
    "mpnet": lambda: transformers.MPNetConfig(**SIZES, pad_token_id=1),
    # The same, and a decoder that is left alone. Heads that are wider together than the model; a bias for each layer.
    "t5": lambda: transformers.T5Config(**T5_SIZES, d_kv=8),
    "mt5": lambda: transformers.MT5Config(**T5_SIZES, d_kv=16),
    "umt5": lambda: transformers.UMT5Config(**T5_SIZES, d_kv=16),
    # Local attention windows: takes a packed row, and answers wrongly on it.
    "modernbert": lambda: transformers.ModernBertConfig(
        **SIZES,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        cls_token_id=1,
        sep_token_id=2,
        global_attn_every_n_layers=2,
        local_attention=8,
    ),
}


@pytest.fixture(scope="session")
def tiny_encoder() -> Callable[[str], transformers.PreTrainedModel]:
    """Make an encoder without a head."""

    def make(architecture: str) -> transformers.PreTrainedModel:
        torch.manual_seed(3)
        config = CONFIGURATIONS[architecture]()
        kind = class_of(transformers.AutoModel, architecture, config)
        return _by_distance(kind.from_config(config).eval())

    return make


@pytest.fixture
def long_windows() -> transformers.PreTrainedModel:
    """Make an encoder with local attention windows of 64 tokens."""
    torch.manual_seed(3)
    config = CONFIGURATIONS["modernbert"]()
    config.local_attention, config.max_position_embeddings = 64, 128
    return transformers.AutoModel.from_config(config).eval()


@pytest.fixture(scope="session")
def tiny_classifier() -> Callable[[str], transformers.PreTrainedModel]:
    """Make a sequence classifier whose probabilities differ clearly from one half."""
    return lambda architecture: _strong(transformers.AutoModelForSequenceClassification, architecture)


@pytest.fixture(scope="session")
def tiny_reader() -> Callable[[str], transformers.PreTrainedModel]:
    """Make a span reader whose logits differ clearly between tokens."""
    return lambda architecture: _strong(transformers.AutoModelForQuestionAnswering, architecture)


def _strong(head: type, architecture: str) -> transformers.PreTrainedModel:
    torch.manual_seed(3)
    model = head.from_config(CONFIGURATIONS[architecture]()).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(4)
    return _by_distance(model)


def _by_distance(model: transformers.PreTrainedModel) -> transformers.PreTrainedModel:
    """Let what attention adds for distances, which is drawn next to nothing, matter as it does in a trained encoder."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "relative_attention_bias" in name:
                weight.normal_(std=2)
    return model
