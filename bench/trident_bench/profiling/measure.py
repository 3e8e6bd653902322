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
from trident_bench.profiling.stages import Stage, cut
from trident_bench.triton import Protocol, TritonState
from trident_bench.usage import usage

MICROSECONDS = 1e6
READ_TIMEOUT = 120.0


@dataclass(frozen=True)
class Level:
    """One ensemble under one load.

    Attributes:
        ensemble: its name.
        in_flight: requests under way at once.
        throughput: requests a second.
        mean: of a request, in microseconds; the stages add up to it, or to a little more.
        p50: median, in microseconds.
        p99: in microseconds.
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
    alone: bool
    stages: Sequence[Stage]
    batches: Mapping[str, float]


def new_client(url: str, protocol: Protocol, read: float = READ_TIMEOUT) -> AsyncTridentClient:
    """Return a client; a failed request is not made again, for its time would be two requests'.

    Args:
        url: ``host:port``.
        protocol: of the service there.
        read: seconds that an answer may take.

    Raises:
        BenchError: the address is none.
    """
    try:
        return AsyncTridentClient(url, protocol=protocol, timeout=Timeout(read=read), retry=Retry(attempts=1))
    except ValueError as error:
        raise BenchError(f"{url} is no host:port ({error}).") from error


def through(send: Send) -> Connector:
    """Let the load generator send through a function rather than over connections of its own."""

    async def connect(stack: AsyncExitStack, count: int) -> list[Send]:
        return [send] * count

    return connect


async def measure(
    client: AsyncTridentClient, state: TritonState, ensemble: Ensemble, in_flight: int, warm_up: float, seconds: float
) -> Level:
    """Load one ensemble, and cut the time of its requests into stages once it is warm."""
    times: list[float] = []

    async def infer(item: Any) -> None:
        begin = time.perf_counter()
        await ensemble.infer(client, item)
        times.append(MICROSECONDS * (time.perf_counter() - begin))

    items = ensemble.items()
    if warm_up > 0:
        await closed_loop(through(infer), items, in_flight, warm_up, turns=1, warm_up=0)
    times.clear()
    before = state.statistics(ensemble.models)
    sample = await closed_loop(through(infer), items, in_flight, seconds, turns=1, warm_up=0)
    after = state.statistics(ensemble.models)
    models = {name: usage(before[name], after[name]) for name in ensemble.models}
    steps = [models[name] for name in ensemble.steps]
    mean, p50, p99 = float(np.mean(times)), *(float(each) for each in np.quantile(times, (0.5, 0.99)))
    return Level(
        ensemble=ensemble.name,
        in_flight=in_flight,
        throughput=sample.rate,
        mean=mean,
        p50=p50,
        p99=p99,
        # Triton counts a request a moment after it was answered: a few may be missing, or belong to the warm-up.
        alone=all(abs(each.requests - len(times)) <= max(2, len(times) // 20) for each in steps),
        stages=cut(ensemble, mean, models),
        batches={each.name: each.batch for each in steps},
    )
