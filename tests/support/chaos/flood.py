"""More load than there is capacity for: what is answered of it, and how soon, against what is offered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

#: Of what is sustained.
LOADS = (0.5, 0.8, 1.0, 2.0, 4.0, 10.0)
#: Clients that ask one after the other, to find what is sustained.
CLIENTS = 16
#: Requests that a client gives up after.
TIMEOUT_SECONDS = 60.0
SINGLES = ("/v1/embeddings", {"model": "sts", "input": "The river rises in the hills and flows to the east. " * 20})
KINDS = ("singles", "lists")


@dataclass(frozen=True)
class Point:
    """One load and what came of it.

    Attributes:
        offered: requests a second.
        goodput: answers a second, of those that came within the deadline.
        p99: seconds within which 99 of 100 of these came; not a number where there was none.
        refused: requests refused with 429 or 503.
        late: with 504, or not at all.
        refusal_p99: seconds within which 99 of 100 refusals came.
    """

    offered: float
    goodput: float
    p99: float
    refused: int
    late: int
    refusal_p99: float


def _p99(values: Sequence[float]) -> float:
    return float(np.percentile(values, 99)) if values else float("nan")


async def _ask(http: httpx.AsyncClient, request: tuple[str, Any], results: list[tuple[int, float]]) -> None:
    started = time.monotonic()
    try:
        status = (await http.post(request[0], json=request[1])).status_code
    except httpx.HTTPError:
        status = 0
    results.append((status, time.monotonic() - started))


async def _sustained(http: httpx.AsyncClient, request: tuple[str, Any], seconds: float) -> float:
    """Return answers a second while some clients ask without a pause."""
    results: list[tuple[int, float]] = []
    until = time.monotonic() + seconds

    async def client() -> None:
        while time.monotonic() < until:
            await _ask(http, request, results)

    started = time.monotonic()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return sum(status == 200 for status, _ in results) / (time.monotonic() - started)


async def _offer(http: httpx.AsyncClient, request: tuple[str, Any], rate: float, seconds: float) -> Point:
    results: list[tuple[int, float]] = []
    started = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(max(1, round(rate * seconds))):
            await asyncio.sleep(max(0.0, started + number / rate - time.monotonic()))
            group.create_task(_ask(http, request, results))
    took = time.monotonic() - started
    answered = [wait for status, wait in results if status == 200]
    refused = [wait for status, wait in results if status in {429, 503}]
    return Point(
        rate,
        len(answered) / took,
        _p99(answered),
        len(refused),
        len(results) - len(answered) - len(refused),
        _p99(refused),
    )


async def measure(
    url: str, seconds: float, texts: int, loads: Sequence[float] = LOADS
) -> dict[str, list[dict[str, float]]]:
    """Offer each kind of request at each load for so many seconds, and return the points by kind; lists have ``texts``.

    Raises:
        RuntimeError: not one request was answered in time where nothing else was asked.
    """
    lists = ("/v1/embeddings", {"model": "sts", "input": [f"A man is playing guitar {each}." for each in range(texts)]})
    found: dict[str, list[dict[str, float]]] = {}
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_SECONDS, limits=limits, trust_env=False) as http:
        for kind, request in zip(KINDS, (SINGLES, lists), strict=True):
            if not (sustained := await _sustained(http, request, seconds)):
                raise RuntimeError(f"{kind}: not one was answered in time; is this machine busy with something else?")
            found[kind] = [asdict(await _offer(http, request, load * sustained, seconds)) for load in loads]
    return found


def plot(series: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]], file: Path) -> None:
    """Draw goodput and p99 against the offered load, for each kind, with a line for each series (before, after)."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(KINDS), figsize=(10, 7), squeeze=False)
    for column, kind in enumerate(KINDS):
        for row, (name, unit) in enumerate((("goodput", "answers a second"), ("p99", "p99 of answers, s"))):
            for label, points in series.items():
                offered = [each["offered"] for each in points[kind]]
                axes[row][column].plot(offered, [each[name] for each in points[kind]], marker="o", label=label)
            axes[row][column].set(
                xlabel="offered, requests a second", ylabel=unit, title=kind, xscale="log", ylim=(0, None)
            )
            axes[row][column].legend()
    figure.tight_layout()
    figure.savefig(file, dpi=80)
    plt.close(figure)
