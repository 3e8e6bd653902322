"""When a failed request is made again: which errors, how often, after how long, and where."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass

from trident_client.errors import (
    ConnectTimeoutError,
    NotReadyError,
    OverloadedError,
    ReadTimeoutError,
    TransportError,
    TridentError,
)

#: Tried again, on another server or on the same.
RETRYABLE: tuple[type[TridentError], ...] = (TransportError, ConnectTimeoutError, OverloadedError)
#: Tried again on a server that was not asked yet: the one that was would say the same, or be loaded doubly.
RETRYABLE_ELSEWHERE: tuple[type[TridentError], ...] = (NotReadyError, ReadTimeoutError)


@dataclass(frozen=True)
class Retry:
    """How often and after how long a request that failed is made again. Inference changes nothing on a server.

    A request is made again after a :class:`TransportError`, a :class:`ConnectTimeoutError` or an
    :class:`OverloadedError`, and, where there is a server that was not asked yet, after a :class:`NotReadyError` or a
    :class:`ReadTimeoutError`. A server that was not asked yet is asked at once; before asking one again, the client
    waits: ``first_wait`` seconds, and twice as long each time up to ``longest_wait``, less up to half at random, so
    that many clients do not come back together. No attempt outlives the request's deadline (:class:`Timeout`).

    The budget keeps retries from becoming the load: every retry takes 1 from it and every answered request gives
    ``refill`` back. When it is spent, failures are raised at once.

    Attributes:
        attempts: at most so many for a request; 1 switches retries off.
        first_wait: seconds before the first server is asked again.
        longest_wait: seconds that waiting grows to.
        budget: retries that a client of its own may have in reserve.
        refill: retries that one answered request is worth.
        overloaded: whether an :class:`OverloadedError` is one of those errors; not where whoever asked is told to come
            again.
    """

    attempts: int = 5
    first_wait: float = 0.1
    longest_wait: float = 2.0
    budget: int = 200
    refill: float = 0.1
    overloaded: bool = True

    def __post_init__(self) -> None:
        """Refuse a policy that means nothing."""
        if self.attempts < 1:
            raise ValueError(f"attempts must be at least 1, got {self.attempts}")
        if not 0 <= self.first_wait <= self.longest_wait:
            raise ValueError(
                f"waits must be seconds with first_wait <= longest_wait, got {self.first_wait} and {self.longest_wait}"
            )
        if self.budget < 0 or self.refill < 0:
            raise ValueError(f"budget and refill must be 0 or more, got {self.budget} and {self.refill}")

    def wait(self, round_: int) -> float:
        """Return the seconds to wait before every server is asked for the ``round_``-th time again, from 0."""
        longest = min(self.longest_wait, self.first_wait * 2.0**round_)
        return longest * random.uniform(0.5, 1.0)


class Budget:
    """How many retries a client may still make; shared by its threads."""

    def __init__(self, retry: Retry) -> None:
        self._capacity = float(retry.budget)
        self._balance = self._capacity
        self._refill = retry.refill
        self._lock = threading.Lock()

    def deposit(self) -> None:
        """Count an answered request."""
        with self._lock:
            self._balance = min(self._capacity, self._balance + self._refill)

    def withdraw(self) -> bool:
        """Take one retry; say whether there was one."""
        with self._lock:
            if self._balance < 1:
                return False
            self._balance -= 1
            return True


def is_retryable(error: TridentError, retry: Retry, *, another_server: bool) -> bool:
    """Say whether a request that failed may succeed when it is made again."""
    if isinstance(error, OverloadedError) and not retry.overloaded:
        return False
    return isinstance(error, RETRYABLE) or (another_server and isinstance(error, RETRYABLE_ELSEWHERE))
