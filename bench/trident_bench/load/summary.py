"""What the points of a sweep come to: where it bends, and which stage is the bottleneck there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from pydantic import BaseModel

from trident_bench.load.plan import Mode, Protocol
from trident_bench.load.points import Point
from trident_bench.load.window import StageUsage, Window

#: How many times the median of a lone request p99 may be at the knee.
MULTIPLE = 10.0
#: A stage, or the cores, are the bottleneck when they work for at least this share of the time. As load rises, the
#: bottleneck's share approaches 1 (Denning and Buzen, "The Operational Analysis of Queueing Network Models", ACM
#: Computing Surveys 10(3), 1978); what is left is the way of the answers and of the next requests.
BUSY = 0.8
#: Clocks of several sources differ a little: an instance that computed for 110 % of the time may have done so alone.
CLOCK_TOLERANCE = 0.1


class Knee(BaseModel):
    """The most that a sweep carries before its latency runs away.

    Attributes:
        point: the one with the highest throughput among those without failures whose p99 is within the limit; None
            where there is none.
        limit_ms: of p99.
        within: whether all points were within the limit: the sweep ended before its knee.
    """

    point: Point | None
    limit_ms: float
    within: bool


class Bottleneck(BaseModel):
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

    @property
    def title(self) -> str:
        """What a table says."""
        return self.name or {"cores": "all cores", "none": "none yet"}[self.kind]


class Curve(BaseModel):
    """The points of one mode, in the order of their levels; where they bend; and what limits them there."""

    mode: Mode
    points: list[Point]
    knee: Knee
    bottleneck: Bottleneck | None

    @property
    def highest(self) -> float:
        """The highest throughput, whatever its latency."""
        return max(each.load.throughput for each in self.points)


class Sweep(BaseModel):
    """One ensemble by one protocol; ``lone_ms`` is the median of a lone request."""

    ensemble: str
    protocol: Protocol
    lone_ms: float
    curves: list[Curve]

    def curve(self, mode: Mode) -> Curve | None:
        """Return one mode's curve, if it was measured."""
        return next((each for each in self.curves if each.mode == mode), None)


def summarise(points: Sequence[Point], multiple: float) -> list[Sweep]:
    """Return a summary for each ensemble and protocol, in the order of their first points."""
    sweeps: dict[tuple[str, Protocol], list[Point]] = {}
    for point in points:
        sweeps.setdefault((point.ensemble, point.protocol), []).append(point)
    limits = concurrent_executions(points)
    found = []
    for (ensemble, protocol), of_sweep in sweeps.items():
        lone = lone_latency(of_sweep)
        curves = []
        for mode in get_args(Mode):
            ordered = sorted((each for each in of_sweep if each.mode == mode), key=lambda each: each.value)
            if ordered:
                knee = find_knee(ordered, lone, multiple)
                bottleneck = find_bottleneck(knee.point.window, limits) if knee.point else None
                curves.append(Curve(mode=mode, points=ordered, knee=knee, bottleneck=bottleneck))
        found.append(Sweep(ensemble=ensemble, protocol=protocol, lone_ms=lone, curves=curves))
    return found


def lone_latency(points: Sequence[Point]) -> float:
    """Return the median latency (ms) at concurrency 1, or else at the lightest load."""
    lone = [each for each in points if each.mode == "concurrency" and each.value == 1]
    return min(lone or points, key=lambda each: each.load.throughput).load.latency.p50


def find_knee(points: Sequence[Point], lone_ms: float, multiple: float = MULTIPLE) -> Knee:
    """Return the knee of the points of one curve."""
    limit = multiple * lone_ms
    good = [each for each in points if each.load.latency.p99 <= limit and each.load.failures == 0]
    best = max(good, key=lambda each: each.load.throughput, default=None)
    return Knee(point=best, limit_ms=limit, within=len(good) == len(points))


def concurrent_executions(points: Sequence[Point]) -> dict[str, int]:
    """Return how many executions an instance of each stage ran at once at most, as far as points can tell.

    Triton does not say how many an instance takes; one that computed for 190 % of the time took two.
    """
    busy: dict[str, float] = {}
    for point in points:
        for stage in point.window.stages:
            busy[stage.name] = max(busy.get(stage.name, 0.0), stage.busy)
    return {name: max(1, math.ceil(most - CLOCK_TOLERANCE)) for name, most in busy.items()}


def find_bottleneck(window: Window, limits: Mapping[str, int]) -> Bottleneck:
    """Return what limits the throughput, from what each stage and the machine did.

    Args:
        window: the point's.
        limits: executions that an instance of each stage runs at once at most, by :func:`concurrent_executions`.
    """

    def utilisation(stage: StageUsage) -> float:
        return stage.busy / limits[stage.name]

    machine = f"all cores together are busy {window.cores_busy:.0%} of the time"
    if window.generator_busy >= 0.01:
        machine += f", {window.generator_busy:.0%} of it making the load"
    busiest = max(window.stages, key=lambda stage: (utilisation(stage), stage.queue_ms))
    busy = _busy(busiest, limits[busiest.name])
    rest = f"the busiest stage, {busiest.name}, computes {busy}"
    if utilisation(busiest) >= BUSY:
        request = f"a request waits {busiest.queue_ms:.1f} ms for it and {busiest.compute_ms:.1f} ms in it"
        why = f"{busiest.name} computes {busy}, in batches of {busiest.batch:.1f}; {request}; {machine}"
        return Bottleneck(kind="stage", name=busiest.name, why=why)
    if window.cores_busy >= BUSY:
        why = f"{machine}, but {rest}: what is left goes to protocols, facade and making the load"
        return Bottleneck(kind="cores", name="", why=why)
    return Bottleneck(kind="none", name="", why=f"{rest}, and {machine}: there is time left")


def _busy(stage: StageUsage, limit: int) -> str:
    every = f" of its {stage.instances} instances" if stage.instances > 1 else ""
    of = f" of the {limit:.0%} that {limit} batches at a time can take" if limit > 1 else " of the time"
    return f"{stage.busy:.0%}{of}{every}"


def facade_share(sweeps: Sequence[Sweep]) -> tuple[float, float] | None:
    """Return the facade's share of gRPC's throughput at the most requests under way that both were measured with.

    Args:
        sweeps: of one ensemble.

    Returns:
        Requests under way, and the share; None where the two have no level of concurrency in common.
    """
    found = {
        sweep.protocol: {point.value: point.load.throughput for point in curve.points}
        for sweep in sweeps
        if (curve := sweep.curve("concurrency"))
    }
    grpc, facade = found.get("grpc", {}), found.get("facade", {})
    both = [value for value in facade if grpc.get(value)]
    return (max(both), facade[max(both)] / grpc[max(both)]) if both else None
