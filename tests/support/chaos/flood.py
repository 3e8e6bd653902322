"""More load than there is capacity for: what is answered of it, and how soon, against what is offered.

Who asks has the same processors as who answers, so asking must be cheap: connections are kept, as clients keep them,
and bodies are written once. What it takes all the same, and by how much it fell behind, stands beside each point.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
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
JSON = {"content-type": "application/json"}
KINDS = ("singles", "lists", "passages", "mixed")


@dataclass(frozen=True)
class Point:
    """One load and what came of it.

    Attributes:
        offered: requests a second.
        goodput: answers a second, of those that came within the deadline.
        p50: seconds within which half of these came; not a number where there was none.
        p99: and 99 of 100.
        refused: requests refused with 429 or 503.
        late: with 504, or not at all.
        refusal_p50: seconds within which half of the refusals came.
        refusal_p99: and 99 of 100.
        asking: processors that asking took, of those that there are.
        behind: seconds by which 99 of 100 requests were sent later than they should have been, at most: the times
            above do not hold this.
        resumed: seconds from the last answer until a lone request was answered as soon as before; not a number where
            it never was.
    """

    offered: float
    goodput: float
    p50: float
    p99: float
    refused: int
    late: int
    refusal_p50: float
    refusal_p99: float
    resumed: float
    asking: float
    behind: float


Request = tuple[str, Any]


def _within(values: Sequence[float], percent: int) -> float:
    return float(np.percentile(values, percent)) if values else float("nan")


async def _ask(http: aiohttp.ClientSession, request: Request, results: list[tuple[int, float]]) -> None:
    started = time.monotonic()
    try:
        async with http.post(request[0], data=request[1], headers=JSON) as response:
            await response.read()
            status = response.status
    except (aiohttp.ClientError, TimeoutError):
        status = 0
    results.append((status, time.monotonic() - started))


async def _sustained(http: aiohttp.ClientSession, requests: Sequence[Request], seconds: float) -> float:
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


async def _alone(http: aiohttp.ClientSession, requests: Sequence[Request]) -> float:
    """Return the seconds that the requests take, one after the other."""
    results: list[tuple[int, float]] = []
    for each in requests:
        await _ask(http, each, results)
    return sum(took for status, took in results) if all(status == 200 for status, _ in results) else float("inf")


async def _resumed(http: aiohttp.ClientSession, requests: Sequence[Request], before: float) -> float:
    started = time.monotonic()
    while (now := time.monotonic()) < started + RESUMING_SECONDS:
        if await _alone(http, requests) <= AS_BEFORE * before:
            return now - started
    return float("nan")


async def _offer(
    http: aiohttp.ClientSession, requests: Sequence[Request], rate: float, seconds: float, alone: float
) -> Point:
    results: list[tuple[int, float]] = []
    behind = []
    began, started = os.times(), time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(max(1, round(rate * seconds))):
            await asyncio.sleep(max(0.0, started + number / rate - time.monotonic()))
            behind.append(time.monotonic() - started - number / rate)
            group.create_task(_ask(http, requests[number % len(requests)], results))
    took, ended = time.monotonic() - started, os.times()
    answered = [wait for status, wait in results if status == 200]
    refused = [wait for status, wait in results if status in {429, 503}]
    return Point(
        rate,
        len(answered) / took,
        _within(answered, 50),
        _within(answered, 99),
        len(refused),
        len(results) - len(answered) - len(refused),
        _within(refused, 50),
        _within(refused, 99),
        await _resumed(http, requests, alone),
        (ended.user + ended.system - began.user - began.system) / took,
        _within(behind, 99),
    )


def kinds(texts: int) -> dict[str, list[Request]]:
    """Return the requests of each kind, which take turns; lists have ``texts``."""
    listed = [f"A man is playing guitar {each}." for each in range(texts)]
    lists = ("/v1/embeddings", {"model": "sts", "input": listed})
    return dict(zip(KINDS, ([SINGLES], [lists], [PASSAGES], [SINGLES, PASSAGES, lists]), strict=True))


async def measure(
    url: str,
    seconds: float,
    texts: int,
    loads: Sequence[float] = LOADS,
    wanted: Sequence[str] = KINDS,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, list[dict[str, float]]]:
    """Offer each kind of request at each load for so many seconds, and return the points by kind.

    Args:
        url: the facade's.
        seconds: how long each load is offered.
        texts: how many a list has.
        loads: times what is sustained.
        wanted: kinds of requests.
        say: is told what came of each load, as soon as it is known.

    Raises:
        RuntimeError: not one request was answered in time where nothing else was asked.
    """
    found: dict[str, list[dict[str, float]]] = {}
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=TIMEOUT_SECONDS)
    timeout = aiohttp.ClientTimeout(TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(url, connector=connector, timeout=timeout) as http:
        for kind, bodies in kinds(texts).items():
            if kind not in wanted:
                continue
            requests = [(path, json.dumps(body).encode()) for path, body in bodies]
            alone = float(np.median([await _alone(http, requests) for _ in range(3)]))
            if not (sustained := await _sustained(http, requests, seconds)):
                raise RuntimeError(f"{kind}: not one was answered in time; is this machine busy with something else?")
            say(f"{kind}: {sustained:.3g} answers a second are sustained")
            found[kind] = []
            for load in loads:
                point = await _offer(http, requests, load * sustained, seconds, alone)
                found[kind].append(asdict(point))
                say(
                    f"{kind}, {load:g} times that: {point.goodput:.3g} answers a second, p99 {point.p99:.3g} s, "
                    f"{point.refused} refused, {point.late} late"
                )
    return found


def table(points: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Return what came of each load, its goodput also as a part of the kind's best, as a table in Markdown."""
    heads = {
        "offered": "offered, 1/s",
        "goodput": "goodput, 1/s",
        "share": "of the best, %",
        "p50": "p50, s",
        "p99": "p99, s",
        "refused": "refused",
        "refusal_p50": "p50 of refusals, s",
        "refusal_p99": "p99 of refusals, s",
        "late": "late",
        "resumed": "s to full speed",
        "asking": "processors that asking took",
        "behind": "asked behind time, s",
    }
    lines = [f"| kind | {' | '.join(heads.values())} |", "|---|" + "---:|" * len(heads)]
    for kind, each in points.items():
        best = max(point["goodput"] for point in each)
        for point in each:
            numbers = {**point, "share": 100 * point["goodput"] / best if best else math.nan}
            cells = ["" if math.isnan(numbers[name]) else f"{round(numbers[name], 3):g}" for name in heads]
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
