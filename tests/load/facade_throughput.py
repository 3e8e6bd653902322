"""What the facade costs: the same requests to it and straight to Triton over gRPC, and what overload does to p99.

    .venv/bin/python tests/load/facade_throughput.py                      # against a running `make serve`
    .venv/bin/python tests/load/facade_throughput.py --overload 1000      # far more connections than there are turns

The machine must have nothing else to do, and the load is made on the same cores: compare the two lines of one run,
and no line with another machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import aiohttp
import numpy as np
from trident_client import AsyncTridentClient, OverloadedError

SUBJECTS = ("The dog", "A man with a guitar", "My friend", "The committee that met yesterday", "Every student")
VERBS = ("sleeps", "plays an old song", "sees the others", "has been waiting for the train", "laugh")
TIMES = ("", "today", "in the park near the river", "although nobody had asked for it")
WARM_UP_SECONDS = 2.0
# The least share of Triton's own throughput that the facade should keep.
GOAL = 0.6

Ask = Callable[[str], Awaitable[int]]


def sentence(rng: random.Random) -> str:
    """Return one of a hundred sentences of several lengths."""
    return " ".join(filter(None, map(rng.choice, (SUBJECTS, VERBS, TIMES)))) + "."


async def load(ask: Ask, connections: int, seconds: float) -> tuple[list[float], Counter[int]]:
    """Ask over so many connections, each anew as soon as it was answered.

    Returns:
        Seconds that each answered request took, and how many requests ended with each status.
    """
    times: list[float] = []
    statuses: Counter[int] = Counter()
    began = time.perf_counter() + WARM_UP_SECONDS

    async def work(seed: int) -> None:
        rng = random.Random(seed)
        while (started := time.perf_counter()) < began + seconds:
            status = await ask(sentence(rng))
            if started >= began:
                statuses[status] += 1
                if status == 200:
                    times.append(time.perf_counter() - started)

    await asyncio.gather(*map(work, range(connections)))
    return times, statuses


def report(name: str, times: list[float], statuses: Counter[int], seconds: float) -> float:
    """Print one line and return the answered requests a second."""
    rate = len(times) / seconds
    median, p99 = (1000 * np.quantile(times, share) for share in (0.5, 0.99)) if times else (np.nan, np.nan)
    ends = ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))
    print(f"{name:8} {rate:8.1f} a second   median {median:8.1f} ms   p99 {p99:8.1f} ms   {ends}")
    return rate


async def main() -> None:
    """Measure both ways and print how much of Triton's throughput the facade keeps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--facade", default="http://127.0.0.1:8000", help="address of the facade")
    parser.add_argument("--grpc", default="127.0.0.1:8011", help="address of Triton's gRPC service")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--overload", type=int, help="connections to the facade alone, more than it admits")
    given = parser.parse_args()
    connections = given.overload or given.connections
    async with (
        aiohttp.ClientSession(given.facade, connector=aiohttp.TCPConnector(limit=connections)) as session,
        AsyncTridentClient(given.grpc, protocol="grpc") as client,
    ):

        async def through_facade(text: str) -> int:
            async with session.post("/generate", json={"passage": text}) as answer:
                await answer.read()
                return answer.status

        async def straight(text: str) -> int:
            try:
                await client.acceptability([text])
            except OverloadedError:
                return 429
            return 200

        if given.overload:
            report("facade", *await load(through_facade, connections, given.seconds), given.seconds)
            return
        direct = report("triton", *await load(straight, connections, given.seconds), given.seconds)
        facade = report("facade", *await load(through_facade, connections, given.seconds), given.seconds)
        print(f"the facade keeps {facade / direct:.0%} of Triton's throughput (goal: {GOAL:.0%})")


if __name__ == "__main__":
    asyncio.run(main())
