"""The queue in front of Triton: so many requests are with it, so many wait, and the rest is refused at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from trident_client import OverloadedError


class Admission:
    """Hands out turns in the order of arrival. Refusing early keeps the wait of those that are let in bounded.

    Args:
        max_running: turns that are taken at once.
        max_waiting: requests that may wait for one.
        max_wait: seconds that one may wait. A request is refused at once when the turns lately taken tell that it
            would wait longer, and after this time when they did not tell.
    """

    def __init__(self, max_running: int, max_waiting: int, max_wait: float) -> None:
        self._turns = asyncio.Semaphore(max_running)
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._max_wait = max_wait
        self._seconds_per_turn = 0.0
        self.running = 0
        self.waiting = 0

    @property
    def expected_wait(self) -> float:
        """Seconds that a request would wait that came now, if turns take as long as of late."""
        ahead = self.waiting + 1 if self._turns.locked() else 0
        return ahead * self._seconds_per_turn / self._max_running

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[float]:
        """Wait for a turn and hold it; gives the seconds that the wait took.

        Raises:
            OverloadedError: too many wait already, or the wait is too long.
        """
        arrived = time.perf_counter()
        await self._enter()
        started = time.perf_counter()
        self.running += 1
        try:
            yield started - arrived
        finally:
            self.running -= 1
            self._turns.release()
            # A mean over about as many turns as there are at once, the last ones counting most.
            self._seconds_per_turn += (time.perf_counter() - started - self._seconds_per_turn) / self._max_running

    async def _enter(self) -> None:
        if not self._turns.locked():
            await self._turns.acquire()
            return
        if self.waiting >= self._max_waiting or self.expected_wait > self._max_wait:
            raise OverloadedError(
                f"{self.running} requests are being answered and {self.waiting} wait, the most there may be; "
                "try again in a moment."
            )
        self.waiting += 1
        try:
            async with asyncio.timeout(self._max_wait):
                await self._turns.acquire()
        except TimeoutError:
            raise OverloadedError(
                f"No turn was free within {self._max_wait:g} s, the longest wait; try again in a moment."
            ) from None
        finally:
            self.waiting -= 1
