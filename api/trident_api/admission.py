"""The queue in front of Triton: so many requests are with it, so many wait, and the rest is refused at once."""

from __future__ import annotations

import asyncio
import time

from trident_client import OverloadedError


class Admission:
    """Hands out turns in the order of arrival. Refusing early keeps the wait of those that are let in bounded.

    Args:
        most_running: turns that are taken at once.
        most_waiting: requests that may wait for one.
    """

    def __init__(self, most_running: int, most_waiting: int) -> None:
        self._turns = asyncio.Semaphore(most_running)
        self._most_waiting = most_waiting
        self.running = 0
        self.waiting = 0

    async def enter(self) -> float:
        """Wait for a turn, to be given back with :meth:`leave`; return the seconds that the wait took.

        Raises:
            OverloadedError: too many wait already.
        """
        started = time.perf_counter()
        if self._turns.locked():
            if self.waiting >= self._most_waiting:
                raise OverloadedError(
                    f"{self.running} requests are being answered and {self.waiting} wait, the most there may be; "
                    "try again in a moment."
                )
            self.waiting += 1
            try:
                await self._turns.acquire()
            finally:
                self.waiting -= 1
        else:
            await self._turns.acquire()
        self.running += 1
        return time.perf_counter() - started

    def leave(self) -> None:
        """Give a turn back."""
        self.running -= 1
        self._turns.release()
