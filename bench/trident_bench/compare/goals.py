"""What the comparison must show, as ratios of two rows taken in the same rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trident_bench.compare.rounds import Results
from trident_bench.compare.statistics import Sample, Spread, ratios

#: The row in which padding is counted, and how much of what is computed may be padding.
MOST_PADDING = 0.10


@dataclass(frozen=True)
class Goal:
    """A ratio and how large it must, or may, be.

    Attributes:
        title: in words.
        above: the row whose value is divided.
        below: the rows by whose value: by the largest in each round.
        bound: to compare the median with.
        at_least: whether the bound is the least, else the most.
        value: of a sample; its rate, or its median time.
    """

    title: str
    above: str
    below: tuple[str, ...]
    bound: float
    at_least: bool = True
    value: Callable[[Sample], float] = lambda sample: sample.rate


@dataclass(frozen=True)
class Outcome:
    """A goal, and what was measured of it.

    Attributes:
        title: in words.
        bound: the ratio that is asked for.
        at_least: whether it is the least, else the most.
        found: the ratio of every round, or None where a row was not measured.
    """

    title: str
    bound: float
    at_least: bool
    found: Spread | None

    @property
    def met(self) -> bool | None:
        """Whether the median meets the bound; None where it was not measured."""
        if self.found is None:
            return None
        return self.found.median >= self.bound if self.at_least else self.found.median <= self.bound


def _median_time(sample: Sample) -> float:
    return sample.quantile(0.5)


PEERS = ("sentence-transformers-32", "sentence-transformers-64")
OPENVINO = ("openvino-32", "openvino-64")
GOALS = (
    Goal("bare engine, times sentence-transformers float32", "engine-64", PEERS, 6.5),
    Goal("bare engine, times OpenVINO", "engine-64", OPENVINO, 2.0),
    Goal("bare engine, share of the matrix products alone", "engine-64", ("products-64",), 0.6),
    Goal("ensemble over gRPC at 64 under way, times infinity", "ensemble-grpc-64", ("infinity-64",), 5.0),
    Goal("ensemble over gRPC at 64 under way, share of the bare engine", "ensemble-grpc-64", ("engine-64",), 0.6),
    Goal("facade at 64 under way, times infinity", "facade-64", ("infinity-64",), 3.0),
    Goal(
        "one request at a time over HTTP: median, times the bare forward and tokenization",
        "ensemble-http-1",
        ("engine-1",),
        1.5,
        at_least=False,
        value=_median_time,
    ),
    Goal("windows of 384 at 32 under way, share of the bare engine", "qa-grpc-32", ("qa-engine-32",), 0.8),
)


def judge(results: Results, goals: Sequence[Goal] = GOALS) -> list[Outcome]:
    """Return what was measured of every goal."""
    return [Outcome(goal.title, goal.bound, goal.at_least, _found(goal, results)) for goal in goals]


def judge_padding(padding: dict[str, int | None] | None) -> Outcome:
    """Return how much of what is computed for mixed passages is padding, in the layers that have the most of it."""
    counted = padding or {}
    real, linear, attention = (counted.get(name) for name in ("real", "linear", "attention"))
    found = Spread.of([1 - real / max(linear, attention)]) if real and linear and attention else None
    return Outcome("mixed passages of 20 to 400 tokens: padding", MOST_PADDING, False, found)


def _found(goal: Goal, results: Results) -> Spread | None:
    def values(name: str) -> list[float | None]:
        return [None if each is None else goal.value(each) for each in results.samples.get(name, [])]

    found = ratios(values(goal.above), [values(name) for name in goal.below])
    return Spread.of(found) if found else None
