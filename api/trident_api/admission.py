"""Admission control: so much work is with Triton, so much waits, and what would come too late is refused at once.

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

from trident_api.throughput import Throughput

#: Tokens of one kind that are with Triton at once, where there are as many: enough for batches of any shape to be full.
MOST_WORK = 16_384
#: So many requests of a kind are with Triton whatever they weigh: while the last batches of one are computed, the next
#: one's are prepared.
ALWAYS_RUNNING = 2
#: Who comes is let in when it is expected to be answered in this part of its deadline: throughput varies.
MARGIN = 0.8
#: The longest time after which somebody is asked to come back.
LONGEST_RETRY_SECONDS = 60.0


class Kind(Enum):
    """What is admitted side by side: the large do not stand in the way of the small.

    SMALL is what fits into a batch or two, LARGE is more, GIANT is one text that is read for as long as many batches,
    and STREAM is a file whose answer is sent while it is worked on, at its reader's pace.
    """

    SMALL = "small"
    LARGE = "large"
    GIANT = "giant"
    STREAM = "stream"


class RefusedError(OverloadedError):
    """There is too much to do.

    Attributes:
        retry_after: seconds after which the request is expected to be let in; None where nothing was measured yet.
    """

    def __init__(self, message: str, retry_after: float | None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


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

    @property
    def patience(self) -> float:
        """Seconds after which one that comes now has waited too long.

        Who was let in is not sent away because turns come in bursts, as they do where requests are carried together:
        until all that runs should have ended, it may wait longer than was expected.
        """
        rate = self.throughput.rate
        return min(self.longest_wait + (self.left(0.0, rate) if rate else 0.0), self.deadline)

    def left(self, waiting: float, rate: float) -> float:
        """Return the seconds until what runs, and so much that waits, is expected to have ended."""
        return _seconds(self.running_work + waiting, rate)

    def wait(self, ahead: float, rate: float) -> float:
        """Return the seconds until one is expected to be called with so much work ahead of it that waits."""
        return _seconds(ahead + self.running_work / max(1, self.running), rate)

    def has_room(self, work: float) -> bool:
        if self.running < min(ALWAYS_RUNNING, self.most_running):
            return True
        return self.running < self.most_running and self.running_work + work <= MOST_WORK


@dataclass(eq=False)
class _Waiting:
    line: _Line
    work: float
    arrived: float
    #: Until when it may have to wait.
    until: float
    turn: asyncio.Future[None]

    def comes_too_late(self, ahead: float, rate: float, now: float) -> bool:
        """Say whether it would be called or answered too late with so much work ahead of it that waits."""
        ends = now + self.line.left(ahead + self.work, rate)
        return ends > self.arrived + self.line.deadline or now + self.line.wait(ahead, rate) > self.until


class Admission:
    """Hands out turns in the order of arrival, for each kind of request.

    Args:
        max_running: turns that are taken at once, at most.
        max_waiting: requests that may wait for one.
        max_wait: seconds that a small request or a stream may wait; others may as long as their deadline allows.
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
                # A second one could keep busy what is left for everybody else.
                Kind.GIANT: _Line(1, deadline, deadline),
                Kind.STREAM: _Line(max(1, max_running // 4), max_wait, math.inf),
            }
        )
        self._queue: list[_Waiting] = []
        self._looking: asyncio.Handle | None = None

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

    @property
    def seconds_left(self) -> float | None:
        """Seconds until all that runs and waits now is expected to have ended; None where nothing was measured yet."""
        rates = ((line, line.throughput.rate) for line in self._lines.values())
        left = [line.left(line.waiting_work, rate) for line, rate in rates if rate]
        return min(max(1.0, *left), LONGEST_RETRY_SECONDS) if left else None

    def check(self, work: float, kind: Kind = Kind.SMALL) -> None:
        """Refuse one that comes now, as :meth:`turn` would, where there is no room for it."""
        self._refuse_what_comes_too_late(self._lines[kind], work, asyncio.get_running_loop().time())

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
            turn = asyncio.get_running_loop().create_future()
            await self._wait(_Waiting(line, work, arrived, arrived + line.patience, turn))
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
        line = waiting.line
        self._queue.append(waiting)
        line.waiting_work += waiting.work
        line.throughput.wanted(waiting.arrived)
        try:
            async with asyncio.timeout_at(waiting.until):
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
            limit = waiting.until - waiting.arrived
            raise self._refusal(
                line, waiting.work, now, f"No turn was free within {limit:.3g} s, the longest wait"
            ) from None

    def _leave(self, waiting: _Waiting) -> None:
        self._queue.remove(waiting)
        waiting.line.waiting_work -= waiting.work

    def _call_next(self, now: float) -> None:
        """Give turns to those that have waited longest."""
        blocked: set[int] = set()
        for each in self._queue.copy():
            if each.turn.done():
                # It was cancelled, and leaves as soon as its task goes on.
                continue
            if id(each.line) in blocked or not self._can_start(each.line, each.work):
                blocked.add(id(each.line))
                continue
            self._leave(each)
            self._start(each.line, each.work)
            each.turn.set_result(None)
        if self._queue and self._looking is None:
            # Those that were carried to Triton together end together: before all have, the rate is not true.
            self._looking = asyncio.get_running_loop().call_soon(self._send_away)

    def _send_away(self) -> None:
        """Refuse those who wait and would be called or answered too late as it goes now."""
        self._looking = None
        now = asyncio.get_running_loop().time()
        ahead = {id(line): 0.0 for line in self._lines.values()}
        gone = False
        for each in self._queue.copy():
            key, rate = id(each.line), each.line.throughput.rate
            if each.turn.done():
                continue
            if rate is not None and each.comes_too_late(ahead[key], rate, now):
                self._leave(each)
                each.turn.set_exception(self._refusal(each.line, each.work, now, self._too_late(), ahead[key]))
                gone = True
            else:
                ahead[key] += each.work
        if gone:
            # They may have stood in the way of others.
            self._call_next(now)

    def _refuse_what_comes_too_late(self, line: _Line, work: float, now: float) -> None:
        can_start, rate = self._can_start(line, work), line.throughput.rate
        if not can_start and self.waiting >= self._max_waiting:
            raise self._refusal(line, work, now, f"{self.running} requests are being answered and {self.waiting} wait")
        # Where nobody is ahead, who comes is let in: a rate that is not true any more must not refuse everybody.
        if rate is None or not line.running:
            return
        if self._late_by(line, work, rate, line.waiting_work, can_start=can_start) > 0:
            raise self._refusal(line, work, now, self._too_late())

    def _late_by(self, line: _Line, work: float, rate: float, ahead: float, *, can_start: bool) -> float:
        """Return the seconds, negative where there is time, by which one that came now would be called or end late.

        ``ahead`` is the work that waits before it.
        """
        late = line.left(ahead + work, rate) - MARGIN * line.deadline
        return late if can_start else max(late, line.wait(ahead, rate) - line.longest_wait)

    def _too_late(self) -> str:
        return (
            f"{self.running} requests are being answered and {self.waiting} wait: this one would not be answered in "
            "time"
        )

    def _refusal(self, line: _Line, work: float, now: float, reason: str, ahead: float | None = None) -> RefusedError:
        """Return the error that says when to come back: after those who were told to come back before.

        ``ahead`` is the work that waits before this one, where that is not all there is.
        """
        line.throughput.wanted(now)
        rate = line.throughput.rate
        after = None
        if rate:
            late = self._late_by(line, work, rate, line.waiting_work if ahead is None else ahead, can_start=False)
            earliest = now + max(1.0, late)
            line.promised = min(max(earliest, line.promised + work / rate), now + LONGEST_RETRY_SECONDS)
            after = line.promised - now
        when = "in a moment" if after is None else f"in {math.ceil(after)} s"
        return RefusedError(f"{reason}; try again {when}.", after)


def _seconds(work: float, rate: float) -> float:
    return work / rate if rate > 0 else math.inf
