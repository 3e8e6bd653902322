"""How many tokens an encoder takes, by its table of positions."""

from __future__ import annotations

from transformers import PreTrainedModel


def first_position(encoder: PreTrainedModel) -> int:
    """Position id of a sequence's first token: after the padding index in RoBERTa's family, 0 elsewhere."""
    tables = [part for name, part in encoder.named_modules() if name.endswith("position_embeddings")]
    padding = getattr(tables[0], "padding_idx", None) if tables else None
    return 0 if padding is None else padding + 1


def most_tokens(encoder: PreTrainedModel) -> int:
    """Longest sequence, in tokens, that the encoder's positions allow."""
    positions: int = encoder.config.max_position_embeddings
    return positions - first_position(encoder)
