"""What runs side by side, in threads; ``_async``'s module of this name does the same with tasks of an event loop."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from trident_client.errors import UsageError

Background = threading.Thread
#: What connections belong to within a process: all of it.
Home = object | None
Event = threading.Event
Item = TypeVar("Item")
Job = TypeVar("Job")
Result = TypeVar("Result")


class Cancelled(BaseException):
    """Raised by nobody: a thread's call cannot be cancelled from outside."""


def home_of(last: Home) -> Home:
    """Return what it was: threads share connections."""
    return last


def check_channels() -> None:
    """Take channels of gRPC in any process."""


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

    Raises:
        UsageError: results are taken in another process than the first was.
    """

    def result() -> Result:
        if os.getpid() != process:
            raise UsageError("this stream was begun before the process was forked, and its threads are the parent's")
        return pending.popleft().result()

    stop, process = Event(), os.getpid()
    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="trident")
    try:
        for job in jobs:
            pending.append(pool.submit(function, job, stop))
            if len(pending) >= prefetch:
                yield result()
        while pending:
            yield result()
    finally:
        if os.getpid() == process:
            stop.set()
            pool.shutdown(cancel_futures=True)
