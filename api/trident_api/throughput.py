"""How fast Triton is, as its own answers tell."""

from __future__ import annotations

import math

#: Seconds after which what was measured counts for about a third.
MEMORY_SECONDS = 10.0
#: Seconds without anybody who waits or is refused after which a throughput is not the most there can be.
WANTED_SECONDS = 1.0
#: Ends of requests from which a throughput is known: those that run side by side end together, and what the second one
#: has done is not seen when the first one ends.
ENOUGH_ENDED = 4


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
