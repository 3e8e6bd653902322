"""What the project's metrics share."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import evaluate
from datasets import Features


# `evaluate` has no types.
class TridentMetric(evaluate.Metric, ABC):  # type: ignore[misc]
    """An ``evaluate.Metric`` that keeps its batches in memory and says what its result is judged by.

    Attributes:
        primary: the key of :meth:`compute`'s result that models are compared by.
        greater_is_better: the direction of ``primary``.
        features: one row of what is added.
        citation: source of the formula.
    """

    primary: ClassVar[str]
    greater_is_better: ClassVar[bool] = True
    features: ClassVar[Features]
    citation: ClassVar[str]

    def __init__(self) -> None:
        # It makes a folder whatever it keeps, and a home may not be there to be written.
        with tempfile.TemporaryDirectory() as unused:
            super().__init__(keep_in_memory=True, cache_dir=unused)

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=type(self).__doc__ or "",
            citation=self.citation,
            inputs_description=f"One row is {dict(self.features)}.",
            features=self.features,
        )

    @abstractmethod
    def _compute(self, *args: Any, **columns: Any) -> dict[str, Any]: ...
