"""What is exported of a classifier."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from transformers import AutoModelForSequenceClassification

from trident_training.checkpoints.loading import load_tokenizer
from trident_training.export import heads
from trident_training.models import Recipe


def head(recipe: Recipe) -> heads.Head:
    """Return the probability of label 1."""
    return heads.probability_head(recipe.fine_tuned(AutoModelForSequenceClassification))


def scores(recipe: Recipe, texts: Sequence[int] = (1, 2)) -> heads.Head:
    """Return the scores of all labels, of so many texts at a time, with the token types that the tokenizer gives."""
    model = recipe.fine_tuned(AutoModelForSequenceClassification)
    given = "token_type_ids" in load_tokenizer(recipe.tokenizer).model_input_names
    takes = "token_type_ids" in inspect.signature(model.forward).parameters
    return heads.scores_head(model, token_types=given and takes, texts=texts)
