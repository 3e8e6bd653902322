"""More load than there is capacity for: what is answered of it, and how soon, against what is offered."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from chaos.questions import PASSAGE

#: Of what is sustained.
LOADS = (0.5, 0.8, 1.0, 2.0, 4.0, 10.0)
#: Clients that ask one after the other, to find what is sustained.
CLIENTS = 16
#: Requests that a client gives up after.
TIMEOUT_SECONDS = 60.0
#: How much longer than before a lone request may take where speed is said to be full again, and seconds to wait for it.
AS_BEFORE = 1.5
RESUMING_SECONDS = 60.0
SINGLES = ("/v1/embeddings", {"model": "sts", "input": "The river rises in the hills and flows to the east. " * 20})
PASSAGES = ("/qa", {"question": "Where does the river rise?", "context": f"It rises in Kent. {PASSAGE * 10}"})
KINDS = ("singles", "lists", "passages", "mixed")


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
        resumed: seconds from the last answer until a lone request was answered as soon as before; not a number where
            it never was.
    """

    offered: float
    goodput: float
    p99: float
    refused: int
    late: int
    refusal_p99: float
    resumed: float


Request = tuple[str, Any]


def _p99(values: Sequence[float]) -> float:
    return float(np.percentile(values, 99)) if values else float("nan")


async def _ask(http: httpx.AsyncClient, request: Request, results: list[tuple[int, float]]) -> None:
    started = time.monotonic()
    try:
        status = (await http.post(request[0], json=request[1])).status_code
    except httpx.HTTPError:
        status = 0
    results.append((status, time.monotonic() - started))


async def _sustained(http: httpx.AsyncClient, requests: Sequence[Request], seconds: float) -> float:
    """Return answers a second while some clients ask without a pause."""
    results: list[tuple[int, float]] = []
    until = time.monotonic() + seconds
    turns = itertools.cycle(requests)

    async def client() -> None:
        while time.monotonic() < until:
            await _ask(http, next(turns), results)

    started = time.monotonic()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return sum(status == 200 for status, _ in results) / (time.monotonic() - started)


async def _alone(http: httpx.AsyncClient, requests: Sequence[Request]) -> float:
    """Return the seconds that the requests take, one after the other."""
    results: list[tuple[int, float]] = []
    for each in requests:
        await _ask(http, each, results)
    return sum(took for status, took in results) if all(status == 200 for status, _ in results) else float("inf")


async def _resumed(http: httpx.AsyncClient, requests: Sequence[Request], before: float) -> float:
    started = time.monotonic()
    while (now := time.monotonic()) < started + RESUMING_SECONDS:
        if await _alone(http, requests) <= AS_BEFORE * before:
            return now - started
    return float("nan")


async def _offer(
    http: httpx.AsyncClient, requests: Sequence[Request], rate: float, seconds: float, alone: float
) -> Point:
    results: list[tuple[int, float]] = []
    started = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(max(1, round(rate * seconds))):
            await asyncio.sleep(max(0.0, started + number / rate - time.monotonic()))
            group.create_task(_ask(http, requests[number % len(requests)], results))
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
        await _resumed(http, requests, alone),
    )


def kinds(texts: int) -> dict[str, list[Request]]:
    """Return the requests of each kind, which take turns; lists have ``texts``."""
    listed = [f"A man is playing guitar {each}." for each in range(texts)]
    lists = ("/v1/embeddings", {"model": "sts", "input": listed})
    return dict(zip(KINDS, ([SINGLES], [lists], [PASSAGES], [SINGLES, PASSAGES, lists]), strict=True))


async def measure(
    url: str, seconds: float, texts: int, loads: Sequence[float] = LOADS, wanted: Sequence[str] = KINDS
) -> dict[str, list[dict[str, float]]]:
    """Offer each kind of request at each load for so many seconds, and return the points by kind; lists have ``texts``.

    Raises:
        RuntimeError: not one request was answered in time where nothing else was asked.
    """
    found: dict[str, list[dict[str, float]]] = {}
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_SECONDS, limits=limits, trust_env=False) as http:
        for kind, requests in kinds(texts).items():
            if kind not in wanted:
                continue
            alone = float(np.median([await _alone(http, requests) for _ in range(3)]))
            if not (sustained := await _sustained(http, requests, seconds)):
                raise RuntimeError(f"{kind}: not one was answered in time; is this machine busy with something else?")
            found[kind] = [asdict(await _offer(http, requests, load * sustained, seconds, alone)) for load in loads]
    return found


def table(points: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Return each kind's best goodput, and what came of its greatest load, as a table in Markdown."""
    head = ("kind", "best goodput, 1/s", "offered, 1/s", "goodput, 1/s", "p99, s", "refused", "p99 of refusals, s")
    lines = [f"| {' | '.join(head)} | late | s to full speed |", "|---|" + "---:|" * 8]
    for kind, each in points.items():
        last, best = each[-1], max(point["goodput"] for point in each)
        names = ("offered", "goodput", "p99", "refused", "refusal_p99", "late", "resumed")
        cells = [
            "" if math.isnan(number) else f"{round(number, 2):g}" for number in (best, *(last[name] for name in names))
        ]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def plot(series: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]], file: Path) -> None:
    """Draw goodput and p99 against the offered load, for each kind, with a line for each series (before, after)."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    drawn = [kind for kind in KINDS if any(kind in points for points in series.values())]
    figure, axes = plt.subplots(2, len(drawn), figsize=(3.2 * len(drawn) + 0.8, 6), squeeze=False)
    for column, kind in enumerate(drawn):
        for row, (name, unit) in enumerate((("goodput", "answers a second"), ("p99", "p99 of answers, s"))):
            for label, points in series.items():
                each = points.get(kind, [])
                axes[row][column].plot(
                    [point["offered"] for point in each], [point[name] for point in each], marker="o", label=label
                )
            axes[row][column].set(xlabel="offered, requests a second", ylabel=unit, title=kind, xscale="log")
            axes[row][column].margins(y=0.1)
            axes[row][column].set_ylim(bottom=0)
            axes[row][column].xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes[row][column].xaxis.set_minor_locator(NullLocator())
            axes[row][column].xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            if len(series) > 1:
                axes[row][column].legend()
    figure.tight_layout()
    figure.savefig(file, dpi=72, pil_kwargs={"optimize": True})
    plt.close(figure)
