"""The tasks' metrics as ``evaluate.Metric`` modules of the project: no script is downloaded to compute one.

Each class names its primary value and whether greater is better, so that "the best model" is never a guess.
"""

from trident_training.metrics.acceptability import F1, Accuracy, BySource, MatthewsCorrelation
from trident_training.metrics.base import TridentMetric
from trident_training.metrics.similarity import Pearson, Spearman, best_threshold

__all__ = [
    "F1",
    "Accuracy",
    "BySource",
    "MatthewsCorrelation",
    "Pearson",
    "Spearman",
    "TridentMetric",
    "best_threshold",
]
