"""What was measured, and what is made of it: rates, ratios taken round by round, and their spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np


@dataclass(frozen=True)
class Sample:
    """One measurement of one row.

    Attributes:
        rate: items a second.
        times: how long each call or request took, in seconds.
        generator: cores that the load generator itself kept busy; 0 where there is none.
        facts: anything else that was counted.
    """

    rate: float
    times: Sequence[float] = ()
    generator: float = 0.0
    facts: dict[str, float] = field(default_factory=dict)

    def quantile(self, share: float) -> float:
        """Return the time, in seconds, within which this share of the calls was answered; nan without calls."""
        return float(np.quantile(self.times, share)) if len(self.times) else float("nan")


@dataclass(frozen=True)
class Spread:
    """Several rounds' values in three numbers."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of at least one value.

        Raises:
            ValueError: there is none.
        """
        if not values:
            raise ValueError("a spread needs at least one value")
        return cls(median(values), min(values), max(values))

    def as_dict(self) -> dict[str, float]:
        """Return the three by their names."""
        return {"median": self.median, "low": self.low, "high": self.high}


def ratios(above: Sequence[float | None], below: Sequence[Sequence[float | None]]) -> list[float]:
    """Divide round by round, so that a machine that is slower in one round is slower for both.

    Args:
        above: a value a round; None for a round that was not measured.
        below: the same of one row or of several, the largest of which counts in each round.

    Returns:
        A ratio for every round that both were measured in.
    """
    found = []
    for number, value in enumerate(above):
        others = [row[number] for row in below if number < len(row)]
        measured = [each for each in others if each]
        if value is not None and measured:
            found.append(value / max(measured))
    return found
