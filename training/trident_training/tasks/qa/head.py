"""What is exported of a span reader."""

from __future__ import annotations

from transformers import AutoModelForQuestionAnswering

from trident_training.checkpoints.loading import load_tokenizer
from trident_training.export import heads
from trident_training.models import Recipe


def head(recipe: Recipe) -> heads.Head:
    """Return start and end logits on the recipe's encoder, with the token types that its tokenizer gives."""
    model = recipe.fine_tuned(AutoModelForQuestionAnswering)
    tokenizer = load_tokenizer(recipe.tokenizer)
    return heads.span_head(model, token_types="token_type_ids" in tokenizer.model_input_names)
