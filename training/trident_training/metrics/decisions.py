"""Metrics of decisions between two labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from datasets import Features, Value
from sklearn.metrics import accuracy_score, f1_score

from trident_training.metrics.base import TridentMetric

LABELS = Features({"predictions": Value("int32"), "references": Value("int32")})


class Accuracy(TridentMetric):
    """Share of predictions that are right, 0 to 1."""

    primary: ClassVar[str] = "accuracy"
    features: ClassVar[Features] = LABELS
    citation: ClassVar[str] = "Pedregosa et al., Scikit-learn (2011)"

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, Any]:
        return {self.primary: float(accuracy_score(references, predictions))}


class F1(TridentMetric):
    """Harmonic mean of precision and recall of label 1, 0 to 1; 0 where label 1 is neither predicted nor there."""

    primary: ClassVar[str] = "f1"
    features: ClassVar[Features] = LABELS
    citation: ClassVar[str] = "van Rijsbergen, Information Retrieval (1979)"

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, Any]:
        return {self.primary: float(f1_score(references, predictions, zero_division=0))}
