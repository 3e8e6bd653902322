"""Where a sweep bends, and which stage is the bottleneck there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from trident_bench.load.points import Point
from trident_bench.load.window import StageUse, Window

#: How many times the median of a lone request p99 may be at the knee.
MULTIPLE = 10.0
#: A stage, or the cores, are the bottleneck when they work for at least this share of the time. As load rises, the
#: bottleneck's share approaches 1 (Denning and Buzen, "The Operational Analysis of Queueing Network Models", ACM
#: Computing Surveys 10(3), 1978); what is left is the way of the answers and of the next requests.
BUSY = 0.8
#: Clocks of several sources differ a little: an instance that computed for 110 % of the time may have done so alone.
CLOCKS = 0.1


@dataclass(frozen=True)
class Knee:
    """The most that a sweep carries before its latency runs away.

    Attributes:
        point: the one with the highest throughput among those without failures whose p99 is within the limit; None
            where there is none.
        limit_ms: of p99.
        lone_ms: median of a lone request, of which the limit is a multiple.
        within: whether all points were within the limit: the sweep ended before its knee.
    """

    point: Point | None
    limit_ms: float
    lone_ms: float
    within: bool


@dataclass(frozen=True)
class Bottleneck:
    """What limits the throughput at a point.

    Attributes:
        kind: ``stage``: a composing model's instances compute nearly all the time. ``cores``: no stage does, yet the
            machine has no time left. ``none``: neither; more load would be carried.
        name: of the composing model, where it is one.
        why: in words.
    """

    kind: Literal["stage", "cores", "none"]
    name: str
    why: str


def lone_latency(points: Sequence[Point]) -> float | None:
    """Return the median latency (ms) at concurrency 1, or else at the lightest load; None without points."""
    lone = [each for each in points if each.mode == "concurrency" and each.value == 1]
    lightest = lone or sorted(points, key=lambda each: each.load.throughput)
    return lightest[0].load.latency.p50 if lightest else None


def find_knee(points: Sequence[Point], lone_ms: float, multiple: float = MULTIPLE) -> Knee:
    """Return the knee of the points of one sweep."""
    limit = multiple * lone_ms
    good = [each for each in points if each.load.latency.p99 <= limit and each.load.failures == 0]
    best = max(good, key=lambda each: each.load.throughput, default=None)
    return Knee(best, limit, lone_ms, within=len(good) == len(points))


def at_a_time(points: Sequence[Point]) -> dict[str, int]:
    """Return how many executions an instance of each stage had under way at most, as far as points can tell.

    Triton does not say how many an instance takes; one that computed for 190 % of the time took two.
    """
    busy: dict[str, float] = {}
    for point in points:
        for stage in point.window.stages:
            busy[stage.name] = max(busy.get(stage.name, 0.0), stage.busy)
    return {name: max(1, math.ceil(most - CLOCKS)) for name, most in busy.items()}


def name_bottleneck(window: Window, most: Mapping[str, int]) -> Bottleneck:
    """Return what limits the throughput, from what each stage and the machine did.

    Args:
        window: the point's.
        most: executions that an instance of each stage has under way at most, by :func:`at_a_time`.
    """

    def load(stage: StageUse) -> float:
        return stage.busy / most[stage.name]

    busiest = max(window.stages, key=lambda stage: (load(stage), stage.queue_ms), default=None)
    machine = f"all cores together are busy {window.cores_busy:.0%} of the time"
    if window.generator_busy >= 0.01:
        machine += f", {window.generator_busy:.0%} of it making the load"
    if busiest is not None and load(busiest) >= BUSY:
        return Bottleneck("stage", busiest.name, f"{_told(busiest, most[busiest.name])}; {machine}")
    rest = (
        f"the busiest stage, {busiest.name}, computes {_share(busiest, most[busiest.name])}"
        if busiest
        else "no stage is known"
    )
    if window.cores_busy >= BUSY:
        return Bottleneck(
            "cores", "", f"{machine}, but {rest}: the rest goes to protocols, to the facade and to making the load"
        )
    return Bottleneck("none", "", f"{rest}, and {machine}: there is time left")


def _told(stage: StageUse, most: int) -> str:
    return (
        f"{stage.name} computes {_share(stage, most)}, in batches of {stage.batch:.1f}; "
        f"a request waits {stage.queue_ms:.1f} ms for it and {stage.compute_ms:.1f} ms in it"
    )


def _share(stage: StageUse, most: int) -> str:
    every = f" of its {stage.instances} instances" if stage.instances > 1 else ""
    of = f" of the {most:.0%} that {most} batches at a time can take" if most > 1 else " of the time"
    return f"{stage.busy:.0%}{of}{every}"
