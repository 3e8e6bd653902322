"""What runs side by side, as tasks of an event loop; ``_sync``'s module of this name does the same with threads."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

from trident_client.errors import UsageError

Background = asyncio.Task[None]
#: Raised in a call that nobody waits for any more.
Cancelled = asyncio.CancelledError
#: What connections belong to within a process.
Home = asyncio.AbstractEventLoop | None
Item = TypeVar("Item")
Job = TypeVar("Job")
Result = TypeVar("Result")
#: The process in which the first channel of grpc.aio was made.
_CHANNELS_OF: dict[str, int] = {}


class Event:
    """A :class:`threading.Event` that is awaited."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """Wake all that wait."""
        self._event.set()

    def is_set(self) -> bool:
        """Say whether it was set."""
        return self._event.is_set()

    async def wait(self, timeout: float) -> bool:
        """Wait so many seconds at most; say whether it was set."""
        # In Python 3.10 this is an exception of its own, and there is no asyncio.timeout().
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._event.wait(), timeout)
        return self._event.is_set()


def home_of(last: Home) -> Home:
    """Return the event loop that runs.

    Raises:
        UsageError: ``last``, where what asks is at home, is another that runs.
    """
    loop = asyncio.get_running_loop()
    if last is not None and last is not loop and last.is_running():
        raise UsageError("the client is used in another event loop, which still runs; each needs a client of its own")
    return loop


def check_channels() -> None:
    """Refuse channels of gRPC in a child of the process that made the first.

    Raises:
        UsageError: what waits for gRPC's events is one thread for all loops of a process, which a fork leaves behind;
            a call in the child would never end, not even at its deadline.
    """
    if os.getpid() != _CHANNELS_OF.setdefault("process", os.getpid()):
        raise UsageError(
            "gRPC's asyncio, used before a fork, cannot be used in the child; protocol='http' can, and so can "
            "TridentClient, or a process that is not forked (multiprocessing's 'spawn')"
        )


def start(name: str, function: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> Background:
    """Run a function beside its caller."""
    return asyncio.create_task(function(*arguments), name=name)


async def cancel(background: Background) -> None:
    """End it."""
    background.cancel()
    await asyncio.gather(background, return_exceptions=True)


async def iterate(items: Iterable[Item] | AsyncIterable[Item]) -> AsyncIterator[Item]:
    """Yield items that may arrive asynchronously."""
    if isinstance(items, Iterable):
        for item in items:
            yield item
    else:
        async for item in items:
            yield item


async def in_order(
    function: Callable[[Job, Event], Awaitable[Result]],
    jobs: Iterable[Job] | AsyncIterable[Job],
    concurrency: int,
    prefetch: int,
) -> AsyncGenerator[Result, None]:
    """Yield what the function makes of each job, in their order.

    Args:
        function: is given a job, and an event that is set when its result is not wanted any more.
        jobs: read while results are taken.
        concurrency: how many are run at once.
        prefetch: how many at most are begun and not yielded.
    """
    stop, slots = Event(), asyncio.Semaphore(concurrency)
    pending: deque[asyncio.Task[Result]] = deque()

    async def run(job: Job) -> Result:
        async with slots:
            return await function(job, stop)

    try:
        async for job in iterate(jobs):
            pending.append(asyncio.create_task(run(job)))
            if len(pending) >= prefetch:
                yield await pending.popleft()
        while pending:
            yield await pending.popleft()
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
