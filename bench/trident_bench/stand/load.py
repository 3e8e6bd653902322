"""A closed loop of requests: so many in flight, each followed by the next as soon as it was answered."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

Item = TypeVar("Item")


@dataclass(frozen=True)
class Load:
    """What a load found.

    Attributes:
        throughput: requests a second that were answered while new ones were made.
        latencies: of every request, in seconds.
    """

    throughput: float
    latencies: tuple[float, ...]

    def quantile(self, share: float) -> float:
        """Return the latency, in seconds, that so large a share of the requests did not exceed."""
        return float(np.quantile(self.latencies, share))


async def drive(ask: Callable[[Item], Awaitable[Any]], items: Sequence[Item], in_flight: int, seconds: float) -> Load:
    """Ask for so long; every request that was made is waited for.

    Args:
        ask: asks one item; what it raises ends the load.
        items: asked in turn.
        in_flight: requests under way at once.
        seconds: in which new requests are made; each of those in flight makes one at least.
    """
    turn = itertools.cycle(items)
    latencies: list[float] = []
    in_time = 0
    began = time.perf_counter()
    deadline = began + seconds

    async def work() -> None:
        nonlocal in_time
        while True:
            started = time.perf_counter()
            await ask(next(turn))
            ended = time.perf_counter()
            latencies.append(ended - started)
            in_time += ended <= deadline
            if ended >= deadline:
                return

    workers = [asyncio.create_task(work()) for _ in range(in_flight)]
    try:
        await asyncio.gather(*workers)
    finally:
        for each in workers:
            each.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    # Where every request took longer than the whole load, there is no better figure than all of them in all the time.
    elapsed = time.perf_counter() - began
    return Load(in_time / seconds if in_time else len(latencies) / elapsed, tuple(latencies))
