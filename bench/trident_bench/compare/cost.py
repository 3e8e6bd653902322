"""What a batch costs the bare engine, by its size and its sequences' length, and a model of that cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from trident_bench.compare.processes import LoopProcess

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
LENGTHS = (8, 16, 32, 64, 128, 256, 512)
#: Larger rectangles are left out: they cost seconds each and say nothing that half of them does not.
MOST_TOKENS = 65_536
#: As many as the model has numbers.
LEAST_POINTS = 3
QUICK_BATCHES, QUICK_LENGTHS = (1, 8, 64), (8, 64)


@dataclass(frozen=True)
class Point:
    """The least time of a batch of so many sequences of so many tokens."""

    batch: int
    length: int
    seconds: float

    @property
    def rate(self) -> float:
        """Sequences a second."""
        return self.batch / self.seconds


@dataclass(frozen=True)
class CostModel:
    """``seconds = call + token * tokens + pair * tokens * length``: tokens = batch x length.

    A call costs something whatever it holds, each token the same in linear layers, and attention as much again for
    every token that it looks at.

    Attributes:
        call: seconds a call.
        token: seconds a token.
        pair: seconds a token for each token of its own sequence.
        error: median distance of the model from what was measured, as a share of it.
        worst: the largest such distance.
    """

    call: float
    token: float
    pair: float
    error: float
    worst: float

    def __str__(self) -> str:
        return (
            f"{1e3 * self.call:.2f} ms a call\n+ {1e6 * self.token:.2f} µs a token\n"
            f"+ {1e9 * self.pair:.2f} ns a token and token of its sequence\n"
            f"off by {self.error:.0%} at the median, {self.worst:.0%} at most"
        )

    def seconds(self, batch: float, length: float) -> float:
        """Return the modelled time of a batch."""
        tokens = batch * length
        return self.call + self.token * tokens + self.pair * tokens * length


def shapes(quick: bool) -> list[tuple[int, int]]:
    """Return the rectangles to measure."""
    batches, lengths = (QUICK_BATCHES, QUICK_LENGTHS) if quick else (BATCHES, LENGTHS)
    return [(batch, length) for length in lengths for batch in batches if batch * length <= MOST_TOKENS]


def sweep(
    engine: LoopProcess,
    rectangles: Sequence[tuple[int, int]],
    seconds: float,
    step: Callable[[], None],
    points: list[Point],
) -> None:
    """Measure every rectangle for so many seconds, or once where once takes longer.

    Args:
        engine: measured.
        rectangles: batch and length of each.
        seconds: how long each.
        step: called after each.
        points: what was found is put here, so that it is there although the rest is interrupted.
    """
    for batch, length in rectangles:
        answer = engine.ask("rectangle", batch=batch, length=length, seconds=seconds)
        # The least of several: what else the machine does only ever adds.
        points.append(Point(batch, length, min(answer["times"])))
        step()


def fit(points: Sequence[Point]) -> CostModel:
    """Fit the model so that relative errors are small, with no cost below zero.

    Raises:
        ValueError: there are fewer points than the model has numbers.
    """
    from scipy.optimize import nnls

    if len(points) < LEAST_POINTS:
        raise ValueError(f"a cost of three numbers needs as many measurements, and there are {len(points)}")
    measured = np.array([each.seconds for each in points])
    tokens = np.array([each.batch * each.length for each in points], dtype=np.float64)
    lengths = np.array([each.length for each in points], dtype=np.float64)
    terms = np.stack([np.ones_like(tokens), tokens, tokens * lengths], axis=1) / measured[:, None]
    # Columns of like size: their numbers lie ten orders of magnitude apart.
    scale = np.linalg.norm(terms, axis=0)
    found, _ = nnls(terms / scale, np.ones_like(measured))
    call, token, pair = (float(each) for each in found / scale)
    errors = np.abs(terms @ np.array([call, token, pair]) - 1)
    return CostModel(call, token, pair, float(np.median(errors)), float(errors.max()))
