"""Metrics of judgements of acceptability, as CoLA has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from datasets import Features, Value
from sklearn.metrics import accuracy_score, matthews_corrcoef

from trident_training.metrics.base import TridentMetric
from trident_training.metrics.decisions import LABELS


class MatthewsCorrelation(TridentMetric):
    """Matthews correlation coefficient, -1 to 1; 0 when all predictions are one label.

    Example:
        >>> MatthewsCorrelation().compute(predictions=[1, 1, 0, 0], references=[1, 0, 0, 0])
        {'matthews_correlation': 0.5773502691896258}
    """

    primary: ClassVar[str] = "matthews_correlation"
    features: ClassVar[Features] = LABELS
    citation: ClassVar[str] = "Matthews, Comparison of the predicted and observed secondary structure (1975)"

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, Any]:
        return {self.primary: _matthews(references, predictions)}


class BySource(TridentMetric):
    """Matthews correlation, accuracy and number of sentences for each source that the sentences were taken from.

    ``worst`` is the smallest correlation of any source.
    """

    primary: ClassVar[str] = "worst"
    features: ClassVar[Features] = Features({**LABELS, "sources": Value("string")})
    citation: ClassVar[str] = "Warstadt, Singh and Bowman, Neural Network Acceptability Judgments (2019), table 2"

    def _compute(self, predictions: Sequence[int], references: Sequence[int], sources: Sequence[str]) -> dict[str, Any]:
        table = {}
        for source in sorted(set(sources)):
            rows = [index for index, each in enumerate(sources) if each == source]
            found, expected = [predictions[row] for row in rows], [references[row] for row in rows]
            table[source] = {
                "matthews_correlation": _matthews(expected, found),
                "accuracy": float(accuracy_score(expected, found)),
                "sentences": len(rows),
            }
        return {self.primary: min(each["matthews_correlation"] for each in table.values()), "by_source": table}


def _matthews(references: Sequence[int], predictions: Sequence[int]) -> float:
    # 0 by convention where it is undefined; scikit-learn says so too, with a warning each time.
    if len(set(references)) < 2 or len(set(predictions)) < 2:
        return 0.0
    return float(matthews_corrcoef(references, predictions))
