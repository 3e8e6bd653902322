"""Metrics of similarity: correlations with the gold scores, and the decision at a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from datasets import Features, Value
from scipy.stats import pearsonr, spearmanr

from trident_training.metrics.base import TridentMetric

PAIRS = Features({"predictions": Value("float32"), "references": Value("float32")})


class Pearson(TridentMetric):
    """Pearson's correlation of predicted and gold similarity, -1 to 1; 0 where either is all one number."""

    primary: ClassVar[str] = "pearson"
    features: ClassVar[Features] = PAIRS
    citation: ClassVar[str] = "Pearson, Notes on regression and inheritance in the case of two parents (1895)"

    def _compute(self, predictions: Sequence[float], references: Sequence[float]) -> dict[str, Any]:
        return {self.primary: _correlation(pearsonr, predictions, references)}


class Spearman(TridentMetric):
    """Spearman's rank correlation of predicted and gold similarity, -1 to 1; 0 where either is all one number."""

    primary: ClassVar[str] = "spearman"
    features: ClassVar[Features] = PAIRS
    citation: ClassVar[str] = "Spearman, The proof and measurement of association between two things (1904)"

    def _compute(self, predictions: Sequence[float], references: Sequence[float]) -> dict[str, Any]:
        return {self.primary: _correlation(spearmanr, predictions, references)}


def best_threshold(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Return the threshold at which ``score >= threshold`` has the greatest F1.

    It lies halfway between two neighbouring scores, so that a rounding error decides nothing; of several that are
    equally good it is the one with the widest gap around it.

    Args:
        scores: float ``[n]``, the greater the more similar.
        labels: 1 where similar, else 0; ``[n]``.

    Raises:
        ValueError: no scores, or no pair that is similar.
    """
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if not labels.any():
        raise ValueError(
            "there is no similar pair, one of 3 or more of 5, to find a threshold by; --scale tells where scores end"
        )
    order = np.argsort(-scores, kind="stable")
    found = scores[order]
    hits = np.cumsum(labels[order])
    f1 = 2 * hits / (np.arange(1, len(found) + 1) + hits[-1])
    # Below the last score there is as much room as the scores span.
    below = np.append(found[1:], found[-1] - max(1e-6, float(np.ptp(found))))
    gaps = found - below
    # Where two scores are equal, no threshold parts them.
    best = max(range(len(found)), key=lambda index: (gaps[index] > 0, f1[index], gaps[index]))
    return float((found[best] + below[best]) / 2) if best + 1 < len(found) else float(found[-1])


def _correlation(rule: Any, predictions: Sequence[float], references: Sequence[float]) -> float:
    # Undefined there; SciPy says so with a warning and NaN.
    if np.ptp(predictions) == 0 or np.ptp(references) == 0:
        return 0.0
    return float(rule(predictions, references).statistic)
