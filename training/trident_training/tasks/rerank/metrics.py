"""Metrics of texts put in order for queries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score

from trident_training.data.problems import DataError


def ranking_metrics(queries: Sequence[str], relevant: Sequence[int], scores: npt.ArrayLike) -> dict[str, float]:
    """Return how well scores put each query's texts in order.

    Args:
        queries: of each pair.
        relevant: whether its text belongs to the query, 0 or 1.
        scores: greater for what belongs to it, ``[n]``.

    Returns:
        ``mean_reciprocal_rank``, of the first text that belongs, over the queries that have texts of both kinds, equal
        scores counting against it; ``average_precision`` of all pairs; ``deviation`` of the scores.

    Raises:
        DataError: no query has texts of both kinds.

    Source: Voorhees, The TREC-8 Question Answering Track Report (1999), for the mean reciprocal rank.

    Example:
        >>> ranking_metrics(["a", "a", "a"], [0, 1, 0], np.array([0.9, 0.5, 0.1]))["mean_reciprocal_rank"]
        0.5
    """
    scores = np.asarray(scores, dtype=np.float64)
    by_query: dict[str, tuple[list[float], list[float]]] = {}
    for query, belongs, score in zip(queries, relevant, scores, strict=True):
        by_query.setdefault(query, ([], []))[belongs].append(float(score))
    ranks = [1 + sum(score >= max(right) for score in wrong) for wrong, right in by_query.values() if wrong and right]
    if not ranks:
        raise DataError("no query has texts that belong to it and texts that do not; some of both are needed")
    return {
        "mean_reciprocal_rank": float(np.mean(1 / np.array(ranks))),
        "average_precision": float(average_precision_score(relevant, scores)),
        "deviation": float(np.std(scores)),
    }
