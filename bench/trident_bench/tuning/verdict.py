"""Whether what a search found is really better: the best of many noisy trials always looks better than it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from trident_bench.report import Spread


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
    def spread(self) -> Spread:
        """Of the ratios."""
        return Spread.of(self.ratios)

    @property
    def better(self) -> bool:
        """Whether the gain is worth it, every round was won, and the bound is kept.

        Of two configurations that are alike, one wins five rounds out of five once in 32 times.
        """
        return self.spread.median >= 1 + self.least_gain and self.spread.low > 1 and self.p99 <= self.bound

    def __str__(self) -> str:
        ratio = f"{self.spread.median:.2f} times the default ({self.spread.low:.2f} to {self.spread.high:.2f}"
        return f"{ratio} in {len(self.ratios)} rounds), p99 {self.p99 * 1000:.0f} ms"
