"""What is exported of a classifier."""

from __future__ import annotations

from transformers import AutoModelForSequenceClassification

from trident_training.export import heads
from trident_training.models import Recipe


def head(recipe: Recipe) -> heads.Head:
    """Return the probability of label 1."""
    return heads.probability_head(recipe.fine_tuned(AutoModelForSequenceClassification))
