"""One request from its first attempt to its answer or its last error, without sending anything itself.

Both clients' senders ask this what to do next; neither has rules of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from trident_client._balancing import Balancer
from trident_client._retry import Budget, Retry, is_retryable
from trident_client._types import Timeout
from trident_client.errors import TransportError, TridentError


class Attempts:
    """The attempts of one request.

    Args:
        model: the model it asks, if any.
        balancer: chooses servers.
        retry: how often and after how long.
        budget: what is left of retries.
        timeout: holds the deadline of all attempts together.
        clock: seconds on a clock that never goes back.
    """

    def __init__(
        self,
        model: str | None,
        balancer: Balancer,
        retry: Retry,
        budget: Budget,
        timeout: Timeout,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model = model
        self._balancer = balancer
        self._retry = retry
        self._budget = budget
        self._clock = clock
        self._deadline = clock() + timeout.longest
        self._number = 0
        self._rounds = 0
        self._tried: list[str] = []
        self._tried_this_round: list[str] = []

    def start(self) -> tuple[str, float]:
        """Return the server to ask now and the seconds that are left for it."""
        server = self._balancer.acquire(self._tried_this_round)
        self._tried.append(server)
        self._tried_this_round.append(server)
        self._number += 1
        return server, max(self._deadline - self._clock(), 0.001)

    def succeeded(self) -> None:
        """Count an answer."""
        self._balancer.release(self._tried[-1], None)
        self._budget.deposit()

    def failed(self, error: BaseException) -> float | None:
        """Count a failure, and write into the error what is known of it.

        Returns:
            Seconds to wait before the next attempt; None when there is none, and the error is the caller's to raise.
        """
        server = self._tried[-1]
        self._balancer.release(server, error)
        if not isinstance(error, TridentError):
            return None
        error.attempt, error.server, error.model = self._number, server, error.model or self._model
        wait = self._wait(error)
        if wait is None and isinstance(error, TransportError) and self._no_server_left():
            names = ", ".join(sorted(self._balancer.urls()))
            error.args = (f"none of the servers can be reached ({names}); the last said: {error.message}",)
        return wait

    def _no_server_left(self) -> bool:
        """Say whether each of several servers failed this request, or so many others that it is left out."""
        return len(self._balancer) > 1 and not self._balancer.untried(self._tried)

    def _wait(self, error: TridentError) -> float | None:
        if self._number >= self._retry.attempts:
            return None
        if not is_retryable(error, self._retry, another_server=self._balancer.untried(self._tried)):
            return None
        wait = 0.0
        if not self._balancer.untried(self._tried_this_round):
            wait = self._retry.wait(self._rounds)
            self._rounds += 1
            self._tried_this_round.clear()
        if self._clock() + wait >= self._deadline or not self._budget.withdraw():
            return None
        return wait
