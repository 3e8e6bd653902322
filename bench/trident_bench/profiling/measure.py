"""Loads a server through the client and takes the times."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from trident_client import AsyncTridentClient, Retry, Timeout

from trident_bench.ensembles import Ensemble
from trident_bench.errors import BenchError
from trident_bench.generator.loop import Connector, Send, closed_loop
from trident_bench.profiling.stages import Stage, by_statistics, by_trace
from trident_bench.profiling.trace import TracedRequest, between
from trident_bench.triton import Protocol, TritonState
from trident_bench.usage import ModelUsage, usage

NANOSECONDS_PER_MICROSECOND = 1e3
READ_TIMEOUT = 120.0


@dataclass(frozen=True)
class Measurement:
    """One ensemble under one load, before its times (microseconds) are cut into stages."""

    ensemble: Ensemble
    in_flight: int
    throughput: float
    times: Sequence[float]
    models: Mapping[str, ModelUsage]
    begin: int
    end: int


@dataclass(frozen=True)
class Level:
    """One ensemble under one load.

    Attributes:
        ensemble: its name.
        in_flight: requests under way at once.
        throughput: requests a second.
        mean: of a request, in microseconds; the stages add up to it.
        p50: median, in microseconds.
        p99: in microseconds.
        source: of the server's stages: ``trace`` or ``statistics``.
        alone: whether nobody else used the server's models meanwhile.
        stages: in the order of the request's way.
        batches: mean items of an execution, by composing model.
    """

    ensemble: str
    in_flight: int
    throughput: float
    mean: float
    p50: float
    p99: float
    source: str
    alone: bool
    stages: tuple[Stage, ...]
    batches: Mapping[str, float]


def new_client(url: str, protocol: Protocol) -> AsyncTridentClient:
    """Return a client; a failed request is not made again, for its time would be two requests'.

    Raises:
        BenchError: the address is none.
    """
    try:
        return AsyncTridentClient(url, protocol=protocol, timeout=Timeout(read=READ_TIMEOUT), retry=Retry(attempts=1))
    except ValueError as error:
        raise BenchError(f"{url} is no host:port ({error}).") from error


def through(send: Send) -> Connector:
    """Let the load generator send through a function rather than over connections of its own."""

    async def connect(stack: AsyncExitStack, count: int) -> list[Send]:
        return [send] * count

    return connect


async def measure(
    client: AsyncTridentClient, state: TritonState, ensemble: Ensemble, in_flight: int, warm_up: float, seconds: float
) -> Measurement:
    """Load one ensemble, and take the times of all requests once it is warm."""
    times: list[float] = []

    async def infer(item: Any) -> None:
        begin = time.monotonic_ns()
        await ensemble.infer(client, item)
        times.append((time.monotonic_ns() - begin) / NANOSECONDS_PER_MICROSECOND)

    items = ensemble.items()
    if warm_up > 0:
        await closed_loop(through(infer), items, in_flight, warm_up, turns=1, warm_up=0)
    times.clear()
    before = state.statistics(ensemble.models)
    begin = time.monotonic_ns()
    sample = await closed_loop(through(infer), items, in_flight, seconds, turns=1, warm_up=0)
    end = time.monotonic_ns()
    after = state.statistics(ensemble.models)
    models = {name: usage(before[name], after[name]) for name in ensemble.models}
    return Measurement(ensemble, in_flight, sample.rate, times, models, begin, end)


def cut(measurement: Measurement, trace: Sequence[TracedRequest] | None) -> Level:
    """Cut a measurement's times into stages, by the trace where there is one."""
    ensemble, times, models = measurement.ensemble, measurement.times, measurement.models
    own = between(trace, ensemble, measurement.begin, measurement.end) if trace is not None else []
    steps = [models[name] for name in ensemble.steps]
    mean, p50, p99 = float(np.mean(times)), *(float(each) for each in np.quantile(times, (0.5, 0.99)))
    stages = by_trace(ensemble, mean, own) if own else by_statistics(ensemble, mean, models)
    return Level(
        ensemble=ensemble.name,
        in_flight=measurement.in_flight,
        throughput=measurement.throughput,
        mean=mean,
        p50=p50,
        p99=p99,
        source="trace" if own else "statistics",
        # Triton counts a request a moment after it was answered: a few may be missing, or belong to the warm-up.
        alone=all(abs(each.requests - len(times)) <= max(2, len(times) // 20) for each in steps),
        stages=tuple(stages),
        batches={each.name: each.batch for each in steps},
    )
