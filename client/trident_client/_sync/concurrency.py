"""What runs side by side, in threads; ``_async``'s module of this name does the same with tasks of an event loop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Background = threading.Thread
Event = threading.Event
Item = TypeVar("Item")
Job = TypeVar("Job")
Result = TypeVar("Result")


def start(name: str, function: Callable[..., None], *arguments: Any) -> Background:
    """Run a function beside its caller."""
    thread = threading.Thread(target=function, args=arguments, name=name, daemon=True)
    thread.start()
    return thread


def cancel(background: Background) -> None:
    """Leave it: a thread cannot be ended from outside. It ends by itself when the event that it waits for is set."""


def iterate(items: Iterable[Item]) -> Iterator[Item]:
    """Yield items."""
    return iter(items)


def in_order(
    function: Callable[[Job, Event], Result], jobs: Iterable[Job], concurrency: int, prefetch: int
) -> Generator[Result, None, None]:
    """Yield what the function makes of each job, in their order.

    Args:
        function: is given a job, and an event that is set when its result is not wanted any more.
        jobs: read while results are taken.
        concurrency: how many are run at once.
        prefetch: how many at most are begun and not yielded.
    """
    stop = Event()
    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="trident")
    try:
        for job in jobs:
            pending.append(pool.submit(function, job, stop))
            if len(pending) >= prefetch:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
