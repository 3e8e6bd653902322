"""What each key may ask for in a minute, so that one who asks without end leaves something to the others."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from trident_api.admission import RefusedError

MINUTE = 60.0


class Allowance:
    """So much of one thing for each key: what was taken comes back evenly, and a minute's worth can be saved up.

    Who asks for more than a minute's worth at once gets it when nothing of that is taken, and owes the rest: else a
    long list would be refused for ever. Source: the token bucket of RFC 2697, with a debt.

    Args:
        a_minute: how much; None for as much as is asked.
        unit: what is counted, as messages call it.
        clock: seconds on a clock that never goes back.
    """

    def __init__(self, a_minute: int | None, unit: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._a_minute = a_minute
        self._unit = unit
        self._clock = clock
        #: By key: what it had left, and when.
        self._left: dict[bytes, tuple[float, float]] = {}

    def take(self, key: bytes | None, amount: float) -> None:
        """Take some of a key's; who shows no key has no limit.

        Raises:
            RefusedError: it has not so much left; says when it will have.
        """
        if key is None or self._a_minute is None:
            return
        now = self._clock()
        left, since = self._left.get(key, (float(self._a_minute), now))
        left = min(self._a_minute, left + (now - since) * self._a_minute / MINUTE)
        missing = min(amount, self._a_minute) - left
        if missing > 0:
            self._left[key] = left, now
            after = missing * MINUTE / self._a_minute
            raise RefusedError(
                f"This key may ask for {self._a_minute} {self._unit} a minute, and has too little of that left; try "
                f"again in {math.ceil(after)} s.",
                after,
            )
        self._left[key] = left - amount, now

    def give_back(self, key: bytes | None, amount: float) -> None:
        """Return what was taken for nothing."""
        if key in self._left:
            left, since = self._left[key]
            self._left[key] = left + amount, since
