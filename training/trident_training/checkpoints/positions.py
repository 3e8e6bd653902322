"""How many tokens an encoder takes: by its table of positions, or by what it was trained on where it has none."""

from __future__ import annotations

from transformers import PreTrainedModel

#: More tokens than any sequence has.
NO_LIMIT = 2**31


def first_position(encoder: PreTrainedModel) -> int:
    """Position id of a sequence's first token: after the padding index in RoBERTa's family, 0 elsewhere."""
    tables = [part for name, part in encoder.named_modules() if name.endswith("position_embeddings")]
    padding = getattr(tables[0], "padding_idx", None) if tables else None
    return 0 if padding is None else padding + 1


def most_tokens(encoder: PreTrainedModel) -> int:
    """Longest sequence, in tokens, that the encoder's positions allow.

    One that has a bias for distances and no table of positions, T5's kind, takes what its configuration says that it
    was trained on, or :data:`NO_LIMIT` where it does not say.
    """
    config = encoder.config
    positions: int | None = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    return NO_LIMIT if positions is None else positions - first_position(encoder)
