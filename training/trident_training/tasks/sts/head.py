"""What is exported of a model of similarity."""

from __future__ import annotations

from trident_training.checkpoints.adapters import merge_adapter
from trident_training.checkpoints.bundled import location
from trident_training.checkpoints.loading import load_encoder
from trident_training.checkpoints.pooling import pooling_of
from trident_training.export import heads
from trident_training.models import Recipe
from trident_training.tasks.sts.card import SimilarityCard
from trident_training.tasks.sts.choices import Kind


def head(recipe: Recipe) -> heads.Head:
    """Return pooling, unit norm and cosine on the recipe's encoder.

    Raises:
        ValueError: the model reads both sentences together, or pools in a way that is not exported.
    """
    card = SimilarityCard.read(recipe.weights)
    if card.kind is not Kind.BI_ENCODER:
        raise ValueError(f"{recipe.title} is a {card.kind}; only a {Kind.BI_ENCODER} is served")
    pooling = card.pooling or pooling_of(location(recipe.checkpoint))
    if recipe.adapter is not None:
        return heads.embedding_head(merge_adapter(recipe.adapter, recipe.checkpoint), pooling)
    return heads.embedding_head(load_encoder(recipe.checkpoint), pooling)
