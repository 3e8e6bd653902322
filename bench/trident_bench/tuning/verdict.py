"""Whether what a search found is really better: the best of many noisy trials always looks better than it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Measurement:
    """What a configuration did under load.

    Attributes:
        throughput: requests a second.
        p99: in seconds.
    """

    throughput: float
    p99: float


@dataclass(frozen=True)
class Verdict:
    """A comparison in rounds, each with both configurations.

    Attributes:
        ratios: of requests a second, found to default, a round.
        p99: median over the rounds of what was found, in seconds.
        bound: of the 99th percentile, in seconds.
        least_gain: median gain that is worth a configuration of one's own.
    """

    ratios: tuple[float, ...]
    p99: float
    bound: float
    least_gain: float

    @classmethod
    def of(cls, rounds: Sequence[tuple[Measurement, Measurement]], bound: float, least_gain: float) -> Verdict:
        """Judge rounds of the default and what was found."""
        ratios = tuple(found.throughput / default.throughput for default, found in rounds)
        return cls(ratios, median(found.p99 for _, found in rounds), bound, least_gain)

    @property
    def median(self) -> float:
        """Middle ratio."""
        return median(self.ratios)

    @property
    def better(self) -> bool:
        """Whether the gain is worth it, every round was won, and the bound is kept.

        Of two configurations that are alike, one wins five rounds out of five once in 32 times.
        """
        return self.median >= 1 + self.least_gain and min(self.ratios) > 1 and self.p99 <= self.bound

    def __str__(self) -> str:
        spread = f"{self.median:.2f} times the default ({min(self.ratios):.2f} to {max(self.ratios):.2f}"
        return f"{spread} in {len(self.ratios)} rounds), p99 {self.p99 * 1000:.0f} ms"
