"""The door in front of Triton: so much work is with it, so much waits, and what would come too late is refused at once.

What is counted is work, in tokens, and not requests: a list of two thousand texts is not one sentence. Requests that
share everything miss their deadlines together, and none is answered; those that are let in one after the other are.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

from trident_client import OverloadedError

#: Tokens of one kind that are with Triton at once, where there are as many: enough for batches of any shape to be full.
MOST_WORK = 16_384
#: So many requests of a kind are with Triton whatever they weigh: while the last batches of one are computed, the next
#: one's are prepared.
ALWAYS_RUNNING = 2
#: Who comes is let in when it is expected to be answered in this part of its deadline: throughput varies.
MARGIN = 0.8
#: Seconds after which what was measured counts for about a third.
MEMORY_SECONDS = 10.0
#: Seconds without anybody who waits or is refused after which a throughput is not the most there can be.
WANTED_SECONDS = 1.0
#: Ends of requests from which a throughput is known: those that run side by side end together, and what the second one
#: has done is not seen when the first one ends.
ENOUGH_ENDED = 4
#: The longest time after which somebody is asked to come back.
LONGEST_RETRY_SECONDS = 60.0


class Kind(Enum):
    """What passes the door side by side: the large do not stand in the way of the small.

    SMALL is what fits into a batch or two, LARGE is more, and STREAM is a file whose answer is sent while it is worked
    on, at its reader's pace.
    """

    SMALL = "small"
    LARGE = "large"
    STREAM = "stream"


class RefusedError(OverloadedError):
    """There is too much to do.

    Attributes:
        retry_after: seconds after which the request is expected to be let in; None where nothing was measured yet.
    """

    def __init__(self, message: str, retry_after: float | None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Throughput:
    """Work done a second, measured while somebody waits or is refused: only then is it as much as there can be."""

    def __init__(self) -> None:
        self._work = self._seconds = 0.0
        self._ended = 0
        # Since when it is measured, and until when that was counted; None while it is not.
        self._measured: tuple[float, float] | None = None
        self._wanted = self._counted = 0.0

    @property
    def rate(self) -> float | None:
        """Tokens a second; None where too little has ended to know."""
        return self._work / self._seconds if self._seconds and self._ended >= ENOUGH_ENDED else None

    def wanted(self, now: float) -> None:
        """Note that there is more to do than is under way."""
        self._wanted = now
        self._measured = self._measured or (now, now)

    def ended(self, done: float, started: float, now: float, *, idle: bool) -> None:
        """Count a request that has ended: what of its work was done while there was more to do.

        Args:
            done: tokens; none where it was given up.
            started: when it began.
            now: when it ended.
            idle: whether nothing is under way any more.
        """
        if self._measured is not None:
            since, until = self._measured
            share = (now - max(started, since)) / (now - started) if now > started else 1.0
            keep = math.exp((self._counted - now) / MEMORY_SECONDS)
            self._work = self._work * keep + done * share
            self._seconds = self._seconds * keep + now - until
            self._ended += 1
            self._counted = now
            self._measured = None if idle or now - self._wanted > WANTED_SECONDS else (since, now)


@dataclass
class _Line:
    """The requests of one kind."""

    most_running: int
    longest_wait: float
    deadline: float
    running: int = 0
    running_work: float = 0.0
    waiting_work: float = 0.0
    #: Until when what was refused, and told when to come back, keeps Triton busy.
    promised: float = 0.0
    throughput: Throughput = field(default_factory=Throughput)

    def has_room(self, work: float) -> bool:
        if self.running < min(ALWAYS_RUNNING, self.most_running):
            return True
        return self.running < self.most_running and self.running_work + work <= MOST_WORK


@dataclass(eq=False)
class _Waiting:
    line: _Line
    work: float
    arrived: float
    turn: asyncio.Future[None]


class Admission:
    """Hands out turns in the order of arrival, for each kind of request.

    Args:
        max_running: turns that are taken at once, at most.
        max_waiting: requests that may wait for one.
        max_wait: seconds that a small request or a stream may wait; a large one may as long as its deadline allows.
        deadline: seconds in which a request must be answered, its wait included; a stream has none.
    """

    def __init__(self, max_running: int, max_waiting: int, max_wait: float, deadline: float) -> None:
        self._max_running = max_running
        self._max_waiting = max_waiting
        # A stream lasts as long as its reader likes: not all turns are for them.
        self._lines: Mapping[Kind, _Line] = MappingProxyType(
            {
                Kind.SMALL: _Line(max_running, max_wait, deadline),
                Kind.LARGE: _Line(max_running, deadline, deadline),
                Kind.STREAM: _Line(max(1, max_running // 4), max_wait, math.inf),
            }
        )
        self._queue: list[_Waiting] = []

    @property
    def running(self) -> int:
        """Turns that are taken."""
        return sum(line.running for line in self._lines.values())

    @property
    def waiting(self) -> int:
        """Requests that wait for one."""
        return len(self._queue)

    @property
    def work(self) -> float:
        """Tokens under way and waiting."""
        return sum(line.running_work + line.waiting_work for line in self._lines.values())

    @asynccontextmanager
    async def turn(self, work: float = 1.0, kind: Kind = Kind.SMALL) -> AsyncIterator[float]:
        """Wait for a turn and hold it; gives the seconds that the wait took.

        Args:
            work: what is to be done, in tokens, an estimate; of streams a number that is the same for all.
            kind: whose line it joins.

        Raises:
            RefusedError: too many wait already, or it would be answered too late.
        """
        line, clock = self._lines[kind], asyncio.get_running_loop().time
        arrived = clock()
        self._refuse_what_comes_too_late(line, work, arrived)
        if self._can_start(line, work) and not any(each.line is line for each in self._queue):
            self._start(line, work)
        else:
            await self._wait(_Waiting(line, work, arrived, asyncio.get_running_loop().create_future()))
        started = clock()
        done = 0.0
        try:
            yield started - arrived
            done = work
        finally:
            self._end(line, work, done, started, clock())

    def _can_start(self, line: _Line, work: float) -> bool:
        return self.running < self._max_running and line.has_room(work)

    def _start(self, line: _Line, work: float) -> None:
        line.running += 1
        line.running_work += work

    def _end(self, line: _Line, work: float, done: float, started: float, now: float) -> None:
        line.running -= 1
        line.running_work -= work
        waiting = any(each.line is line for each in self._queue)
        if waiting:
            line.throughput.wanted(now)
        line.throughput.ended(done, started, now, idle=not (waiting or line.running))
        self._call_next(now)

    async def _wait(self, waiting: _Waiting) -> None:
        line, limit = waiting.line, waiting.line.longest_wait
        self._queue.append(waiting)
        line.waiting_work += waiting.work
        line.throughput.wanted(waiting.arrived)
        try:
            async with asyncio.timeout(limit):
                await waiting.turn
        except BaseException as error:
            now = asyncio.get_running_loop().time()
            if waiting in self._queue:
                self._leave(waiting)
                # It may have stood in the way of others.
                self._call_next(now)
            elif waiting.turn.done() and not waiting.turn.cancelled() and waiting.turn.exception() is None:
                # It was called at the moment in which it gave up.
                self._end(line, waiting.work, 0.0, now, now)
            if not isinstance(error, TimeoutError):
                raise
            raise self._refusal(
                line, waiting.work, now, f"No turn was free within {limit:g} s, the longest wait"
            ) from None

    def _leave(self, waiting: _Waiting) -> None:
        self._queue.remove(waiting)
        waiting.line.waiting_work -= waiting.work

    def _call_next(self, now: float) -> None:
        """Give turns to those that have waited longest, and send away who would be answered too late as it goes now."""
        ahead = {id(line): line.running_work for line in self._lines.values()}
        blocked: set[int] = set()
        for each in self._queue.copy():
            if each.turn.done():
                # It was cancelled, and leaves as soon as its task goes on.
                continue
            key, rate = id(each.line), each.line.throughput.rate
            if key not in blocked and self._can_start(each.line, each.work):
                self._leave(each)
                self._start(each.line, each.work)
                each.turn.set_result(None)
            elif rate is not None and now + _seconds(ahead[key] + each.work, rate) > each.arrived + each.line.deadline:
                self._leave(each)
                refusal = self._refusal(each.line, each.work, now, self._too_late(), ahead[key])
                each.turn.set_exception(refusal)
                continue
            else:
                blocked.add(key)
            ahead[key] += each.work

    def _refuse_what_comes_too_late(self, line: _Line, work: float, now: float) -> None:
        can_start, rate = self._can_start(line, work), line.throughput.rate
        if not can_start and self.waiting >= self._max_waiting:
            raise self._refusal(line, work, now, f"{self.running} requests are being answered and {self.waiting} wait")
        # Where nobody is ahead, who comes is let in: a rate that is not true any more must not close the door.
        if rate is None or not line.running:
            return
        if self._late_by(line, work, rate, can_start=can_start) > 0:
            raise self._refusal(line, work, now, self._too_late())

    def _late_by(self, line: _Line, work: float, rate: float, *, can_start: bool) -> float:
        """Return the seconds, negative where there is time, by which one that came now would be called or end late."""
        late = _seconds(line.running_work + line.waiting_work + work, rate) - MARGIN * line.deadline
        if can_start:
            return late
        wait = _seconds(line.waiting_work + line.running_work / max(1, line.running), rate)
        return max(late, wait - line.longest_wait)

    def _too_late(self) -> str:
        return (
            f"{self.running} requests are being answered and {self.waiting} wait: this one would not be answered in "
            "time"
        )

    def _refusal(self, line: _Line, work: float, now: float, reason: str, ahead: float | None = None) -> RefusedError:
        """Return the error that says when to come back: after those who were told to come back before.

        ``ahead`` is the work before this one, where that is not all there is.
        """
        line.throughput.wanted(now)
        rate = line.throughput.rate
        after = None
        if rate:
            late = self._late_by(line, work, rate, can_start=False)
            if ahead is not None:
                late = _seconds(ahead + work, rate) - MARGIN * line.deadline
            earliest = now + max(1.0, late)
            line.promised = min(max(earliest, line.promised + work / rate), now + LONGEST_RETRY_SECONDS)
            after = line.promised - now
        when = "in a moment" if after is None else f"in {math.ceil(after)} s"
        return RefusedError(f"{reason}; try again {when}.", after)


def _seconds(work: float, rate: float) -> float:
    return work / rate if rate > 0 else math.inf
