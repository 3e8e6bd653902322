"""What the points of a sweep come to: lone latency, highest throughput, knees and bottlenecks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from trident_bench.load.knee import Bottleneck, Knee, at_a_time, find_knee, lone_latency, name_bottleneck
from trident_bench.load.plan import Mode, Protocol
from trident_bench.load.points import Point


@dataclass(frozen=True)
class ModeSummary:
    """The points of one mode, in the order of their levels; where they bend; and what limits them there."""

    mode: Mode
    points: tuple[Point, ...]
    knee: Knee
    bottleneck: Bottleneck | None

    @property
    def highest(self) -> Point:
        """The point with the highest throughput, whatever its latency."""
        return max(self.points, key=lambda each: each.load.throughput)


@dataclass(frozen=True)
class SweepSummary:
    """One ensemble by one protocol."""

    ensemble: str
    protocol: Protocol
    lone_ms: float
    modes: tuple[ModeSummary, ...]

    def mode(self, mode: Mode) -> ModeSummary | None:
        """Return one mode's summary, if it was measured."""
        return next((each for each in self.modes if each.mode == mode), None)

    @property
    def points(self) -> list[Point]:
        """All points."""
        return [point for each in self.modes for point in each.points]

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values; knees by the level that they are at."""
        return {
            "ensemble": self.ensemble,
            "protocol": self.protocol,
            "lone_p50_ms": self.lone_ms,
            "knees": {each.mode: _knee_as_json(each) for each in self.modes},
            "points": [point.model_dump() for point in self.points],
        }


def summarise(points: Sequence[Point], multiple: float) -> list[SweepSummary]:
    """Return a summary for each ensemble and protocol, in the order of their first points."""
    sweeps: dict[tuple[str, Protocol], list[Point]] = {}
    for point in points:
        sweeps.setdefault((point.ensemble, point.protocol), []).append(point)
    most = at_a_time(points)
    return [_summarise(ensemble, protocol, each, multiple, most) for (ensemble, protocol), each in sweeps.items()]


def facade_share(sweeps: Sequence[SweepSummary]) -> tuple[float, float] | None:
    """Return how much of gRPC's throughput the facade has at the most requests under way that both were measured with.

    Args:
        sweeps: of one ensemble.

    Returns:
        Requests under way, and the share; None where the two have no level of concurrency in common.
    """
    by_level: dict[float, dict[Protocol, float]] = {}
    for sweep in sweeps:
        for point in sweep.points:
            if point.mode == "concurrency":
                by_level.setdefault(point.value, {})[sweep.protocol] = point.load.throughput
    both = {value: found for value, found in by_level.items() if found.get("grpc") and "facade" in found}
    if not both:
        return None
    most = max(both)
    return most, both[most]["facade"] / both[most]["grpc"]


def _summarise(
    ensemble: str, protocol: Protocol, points: Sequence[Point], multiple: float, most: Mapping[str, int]
) -> SweepSummary:
    lone = lone_latency(points) or 0.0
    modes = []
    for mode in get_args(Mode):
        ordered = tuple(sorted((each for each in points if each.mode == mode), key=lambda each: each.value))
        if ordered:
            knee = find_knee(ordered, lone, multiple)
            bottleneck = name_bottleneck(knee.point.window, most) if knee.point else None
            modes.append(ModeSummary(mode, ordered, knee, bottleneck))
    return SweepSummary(ensemble, protocol, lone, tuple(modes))


def _knee_as_json(summary: ModeSummary) -> dict[str, Any]:
    knee, bottleneck = summary.knee, summary.bottleneck
    return {
        "p99_limit_ms": knee.limit_ms,
        "value": knee.point.value if knee.point else None,
        "throughput": knee.point.load.throughput if knee.point else None,
        "sweep_ended_before_it": knee.within,
        "bottleneck": {"kind": bottleneck.kind, "name": bottleneck.name, "why": bottleneck.why} if bottleneck else None,
    }
