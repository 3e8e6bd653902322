"""Lists and streams of any length as requests: cut into batches, sent a few at a time, answered in order.

A batch with an item that the model does not take is refused as a whole by the server; it is halved until the item is
found, so that the others are answered and the error names the right one.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from trident_client._tasks import Task
from trident_client._types import Request, Response
from trident_client.errors import BadInputError

Item = TypeVar("Item")
Job = TypeVar("Job")
Done = TypeVar("Done")


@dataclass(frozen=True)
class Batch(Generic[Item]):
    """Items that stand in the list from ``start``, and their request where it was made already."""

    start: int
    items: Sequence[Item]
    request: Request | None = None


@dataclass(frozen=True)
class Part:
    """What became of items from ``start``: a value each, and the places in the list of those not taken or cut.

    Where tokens are counted there is a number of them for each too, 0 for one that was not taken.
    """

    start: int
    values: Sequence[Any]
    bad: dict[int, BadInputError]
    truncated: list[int]
    token_counts: list[int]


def batches(items: Iterable[Item], size: int) -> Iterator[Batch[Item]]:
    """Cut items into batches, reading no further ahead than one."""
    rest = iter(items)
    start = 0
    while taken := list(itertools.islice(rest, size)):
        yield Batch(start, taken)
        start += len(taken)


async def async_batches(items: Iterable[Item] | AsyncIterable[Item], size: int) -> AsyncIterator[Batch[Item]]:
    """Do the same for items that may arrive asynchronously."""
    if isinstance(items, Iterable):
        for batch in batches(items, size):
            yield batch
        return
    start, taken = 0, []
    async for item in items:
        taken.append(item)
        if len(taken) == size:
            yield Batch(start, taken)
            start, taken = start + size, []
    if taken:
        yield Batch(start, taken)


async def asynchronous(jobs: Iterable[Job]) -> AsyncIterator[Job]:
    """Yield what is there already."""
    for job in jobs:
        yield job


def steps(
    task: Task[Any, Any, Any], batch: Batch[Any], *, keep_going: bool, halved: bool = False
) -> Generator[Request, Response | BadInputError, Part]:
    """Yield requests and take their responses, or the BadInputError that came instead; return what became of all.

    Args:
        task: makes requests and reads responses.
        batch: items of it.
        keep_going: whether the others are wanted where an item is bad.
        halved: whether these are a part of a batch that was refused.

    Raises:
        BadInputError: an item is not one the model takes, and ``keep_going`` was not asked for.
    """
    try:
        request = batch.request or task.request(batch.items, batch.start)
        response = yield request
        if isinstance(response, BadInputError):
            raise response
    except BadInputError as error:
        if len(batch.items) == 1:
            if error.server is not None and (halved or batch.start > 0):
                # The server counts in the request.
                error.reason = error.message
                error.args = (f"{task.items}[{batch.start}]: {error.message}",)
            error.index = batch.start
            if keep_going:
                return Part(batch.start, [task.missing], {batch.start: error}, [], [0])
            raise
        half = len(batch.items) // 2
        lower, upper = Batch(batch.start, batch.items[:half]), Batch(batch.start + half, batch.items[half:])
        first = yield from steps(task, lower, keep_going=keep_going, halved=True)
        second = yield from steps(task, upper, keep_going=keep_going, halved=True)
        return Part(
            batch.start,
            [*first.values, *second.values],
            first.bad | second.bad,
            first.truncated + second.truncated,
            first.token_counts + second.token_counts,
        )
    truncated = [batch.start + place for place in task.truncated(response)]
    return Part(batch.start, task.values(response), {}, truncated, task.token_counts(response))


def run(steps: Generator[Request, Response | BadInputError, Part], infer: Callable[[Request], Response]) -> Part:
    """Send what the steps yield."""
    try:
        request = next(steps)
        while True:
            try:
                answer: Response | BadInputError = infer(request)
            except BadInputError as error:
                answer = error
            request = steps.send(answer)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def async_run(
    steps: Generator[Request, Response | BadInputError, Part], infer: Callable[[Request], Awaitable[Response]]
) -> Part:
    """Do the same on an event loop."""
    try:
        request = next(steps)
        while True:
            try:
                answer: Response | BadInputError = await infer(request)
            except BadInputError as error:
                answer = error
            request = steps.send(answer)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def in_order(
    pool: Executor, function: Callable[[Job], Done], jobs: Iterable[Job], ahead: int
) -> Generator[Done, None, None]:
    """Yield what the function makes of each job, in their order, with at most ``ahead`` jobs begun and not yielded."""
    begun: deque[Future[Done]] = deque()
    try:
        for job in jobs:
            begun.append(pool.submit(function, job))
            if len(begun) >= ahead:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        for future in begun:
            future.cancel()


async def async_in_order(
    function: Callable[[Job], Awaitable[Done]], jobs: AsyncIterable[Job], concurrency: int, ahead: int
) -> AsyncGenerator[Done, None]:
    """Do the same on an event loop, with at most ``concurrency`` functions running."""
    slots = asyncio.Semaphore(concurrency)
    begun: deque[asyncio.Task[Done]] = deque()

    async def work(job: Job) -> Done:
        async with slots:
            return await function(job)

    try:
        async for job in jobs:
            begun.append(asyncio.create_task(work(job)))
            if len(begun) >= ahead:
                yield await begun.popleft()
        while begun:
            yield await begun.popleft()
    finally:
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)
