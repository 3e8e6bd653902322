"""The project's client in the place of the load generator's own connections."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from trident_client import AsyncTridentClient, Retry, Timeout
from trident_client.errors import TridentError

from trident_bench.ensembles import Ensemble
from trident_bench.errors import BenchError
from trident_bench.generator.loop import Connector, Sample, Send, closed_loop
from trident_bench.triton import Protocol

READ_TIMEOUT = 120.0


@contextlib.asynccontextmanager
async def asking(url: str, protocol: Protocol, read: float = READ_TIMEOUT) -> AsyncIterator[AsyncTridentClient]:
    """Give a client; a failed request is not made again, for its time would be two requests'.

    Args:
        url: ``host:port``.
        protocol: of the service there.
        read: seconds that an answer may take.

    Raises:
        BenchError: the address is none, or a request failed.
    """
    try:
        client = AsyncTridentClient(url, protocol=protocol, timeout=Timeout(read=read), retry=Retry(attempts=1))
    except ValueError as error:
        raise BenchError(f"{url} is no host:port ({error}).") from error
    try:
        async with client:
            yield client
    except TridentError as error:
        raise BenchError(f"A request failed: {error}") from error


def through(send: Send) -> Connector:
    """Let the load generator send through a function rather than over connections of its own."""

    async def connect(stack: AsyncExitStack, count: int) -> list[Send]:
        return [send] * count

    return connect


async def ask(client: AsyncTridentClient, ensemble: Ensemble, in_flight: int, seconds: float) -> Sample:
    """Keep so many requests of an ensemble under way.

    Returns:
        The generator's sample, with the times of all requests: the first, and those that ended after the measurement,
        are no part of its rate.
    """
    times: list[float] = []

    async def infer(item: Any) -> None:
        began = time.perf_counter()
        await ensemble.infer(client, item)
        times.append(time.perf_counter() - began)

    sample = await closed_loop(through(infer), ensemble.items(), in_flight, seconds, turns=1, warm_up=0)
    return replace(sample, times=times)
