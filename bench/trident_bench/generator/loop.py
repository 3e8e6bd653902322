"""Closed and open loops of requests.

The load is made on the cores that the servers compute on, so it must cost little, and the same for everybody: requests
are made before, and an answer is not looked into. What it did cost is reported.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from trident_bench.errors import MeasurementError, TooShortError

#: Of the time that is measured: the load before, which is not counted.
WARM_UP_SHARE = 0.25
#: A slow server is measured longer, until every connection was answered so often; batches would else be cut in two.
TURNS = 4
LONGEST_SECONDS = 60.0
#: Requests that an open loop may have under way.
MOST_OPEN = 4096
#: A request that is sent so much after its time is counted as late.
LATE_SECONDS = 0.01

Send = Callable[[Any], Awaitable[Any]]


class Connector(Protocol):
    """Opens what requests are sent over."""

    async def __call__(self, stack: AsyncExitStack, count: int) -> list[Send]:
        """Return ``count`` senders, each for one request at a time."""


@dataclass(frozen=True)
class Sample:
    """One measurement.

    Attributes:
        rate: items a second.
        times: how long each call or request took, in seconds.
        generator: cores that the load generator itself kept busy; 0 where there is none.
        facts: anything else that was counted.
        failures: requests that were refused or failed, by the reason.
        late: share of an open loop's requests that were sent after their time.
    """

    rate: float
    times: Sequence[float] = ()
    generator: float = 0.0
    facts: dict[str, float] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    late: float = 0.0

    def quantile(self, share: float) -> float:
        """Return the time, in seconds, within which this share of the calls was answered; nan without calls."""
        return float(np.quantile(self.times, share)) if len(self.times) else float("nan")


class Meter:
    """Counts answers from the first after the warm-up, which is not counted, to the one that is enough.

    From answer to answer, because batches answer in bursts: a measurement by the clock alone would cut bursts off.

    Args:
        warm_up: seconds from now in which nothing is counted.
        seconds: that are measured at least.
        least: answers that are measured at least.
        tolerant: count what fails, rather than end with it.
    """

    def __init__(self, warm_up: float, seconds: float, least: int, *, tolerant: bool = False) -> None:
        self.done = False
        self.opens = time.perf_counter() + warm_up
        self._seconds, self._least, self._tolerant = seconds, max(least, 1), tolerant
        self._began: float | None = None
        self._processor = self._took = 0.0
        self._times: list[float] = []
        self._failures: Counter[str] = Counter()

    async def measure(self, send: Send, item: Any) -> None:
        """Send once and count the answer."""
        started = time.perf_counter()
        failure = None
        try:
            await send(item)
        except (MeasurementError, OSError) as error:
            if not self._tolerant:
                raise
            failure = str(error)
        now = time.perf_counter()
        if self.done or now < self.opens:
            return
        if self._began is None:
            self._began, self._processor = now, time.process_time()
            return
        if failure is None:
            self._times.append(now - started)
        else:
            self._failures[failure] += 1
        self._took = now - self._began
        enough = self._took >= self._seconds and len(self._times) + self._failures.total() >= self._least
        if enough or self._took > self._seconds + LONGEST_SECONDS:
            self.done = True
            self._processor = time.process_time() - self._processor

    def sample(self, late: float = 0.0) -> Sample:
        """Return what was measured.

        Raises:
            TooShortError: there were too few answers.
            MeasurementError: there were none, but failures.
        """
        if self._failures and not self._times:
            raise MeasurementError(f"no request was answered: {self._failures.most_common(1)[0][0]}")
        if not self.done or len(self._times) + self._failures.total() < self._least:
            raise TooShortError(f"only {len(self._times)} requests were answered in {self._took:.0f} s")
        rate, generator = len(self._times) / self._took, self._processor / self._took
        return Sample(rate, self._times, generator, failures=self._failures, late=late)


async def closed_loop(
    connector: Connector,
    items: Sequence[Any],
    in_flight: int,
    seconds: float,
    *,
    turns: int = TURNS,
    warm_up: float | None = None,
    tolerant: bool = False,
) -> Sample:
    """Keep ``in_flight`` requests under way, each followed by the next as soon as it was answered.

    Requests that end while it is measured count, and only they; all are waited for.

    Args:
        connector: opens the connections.
        items: requests, sent in turn, again from the first after the last.
        in_flight: how many at a time.
        seconds: how long at least.
        turns: and until this many answers for every connection have come.
        warm_up: seconds of load before; a quarter of ``seconds`` if not given.
        tolerant: count what fails, rather than end with it.

    Raises:
        MeasurementError: a request failed, or there were not enough answers in :data:`LONGEST_SECONDS`.
    """
    warm_up = WARM_UP_SHARE * seconds if warm_up is None else warm_up
    meter = Meter(warm_up, seconds, turns * in_flight, tolerant=tolerant)
    following = itertools.cycle(items)

    async def keep_sending(send: Send) -> None:
        while not meter.done:
            await meter.measure(send, next(following))

    async with AsyncExitStack() as stack:
        senders = await connector(stack, in_flight)
        await _run_all((keep_sending(each) for each in senders), warm_up + 2 * (seconds + LONGEST_SECONDS))
    return meter.sample()


async def open_loop(
    connector: Connector,
    items: Sequence[Any],
    rate: float,
    seconds: float,
    *,
    warm_up: float | None = None,
    seed: int = 7,
) -> Sample:
    """Send at the times of a Poisson process, whether or not earlier requests were answered; failures are counted.

    Args:
        connector: opens connections as they are needed.
        items: requests, sent in turn, again from the first after the last.
        rate: requests a second.
        seconds: how long at least.
        warm_up: seconds of load before; a quarter of ``seconds`` if not given.
        seed: of the times.

    Raises:
        MeasurementError: no request was answered.
    """
    warm_up = WARM_UP_SHARE * seconds if warm_up is None else warm_up
    meter = Meter(warm_up, seconds, 1, tolerant=True)
    following, rng = itertools.cycle(items), random.Random(seed)
    idle: list[Send] = []
    room = asyncio.Semaphore(MOST_OPEN)
    sent = late = 0

    async with AsyncExitStack() as stack:

        async def send_one() -> None:
            sender = idle.pop() if idle else (await connector(stack, 1))[0]
            await meter.measure(sender, next(following))
            idle.append(sender)
            room.release()

        async def drive() -> None:
            nonlocal sent, late
            due = time.perf_counter()
            last = meter.opens + seconds + LONGEST_SECONDS
            async with asyncio.TaskGroup() as group:
                while not meter.done and due < last:
                    due += rng.expovariate(rate)
                    await asyncio.sleep(max(due - time.perf_counter(), 0))
                    await room.acquire()
                    sent += 1
                    late += time.perf_counter() - due > LATE_SECONDS
                    group.create_task(send_one())

        await _run_all([drive()], warm_up + 2 * (seconds + LONGEST_SECONDS))
    return meter.sample(late / sent if sent else 0.0)


async def send_once(connector: Connector, request: Any) -> Any:
    """Send one request and return its answer.

    Raises:
        MeasurementError: as the connection has it.
    """
    async with AsyncExitStack() as stack:
        (send,) = await connector(stack, 1)
        return await send(request)


async def _run_all(coroutines: Iterable[Coroutine[Any, Any, None]], limit: float) -> None:
    try:
        # Somebody who never answers never comes to look at the time.
        async with asyncio.timeout(limit), asyncio.TaskGroup() as group:
            for each in coroutines:
                group.create_task(each)
    except TimeoutError:
        raise MeasurementError(f"there was no end to it after {limit:g} s") from None
    except BaseExceptionGroup as errors:
        first: BaseException = errors
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise (MeasurementError(str(first)) if isinstance(first, OSError) else first) from None
