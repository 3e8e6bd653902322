"""Which of several servers is asked next: the one with the fewest requests under way, among those that answer.

Knows names and numbers; sends nothing. The same for threads and for an event loop.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from trident_client.errors import ConnectTimeoutError, ReadTimeoutError, TransportError

#: What speaks against a server; other errors are about the request, the model or the load.
SERVER_FAILURES: tuple[type[BaseException], ...] = (TransportError, ConnectTimeoutError, ReadTimeoutError)


@dataclass(frozen=True)
class Balancing:
    """When one of several servers is left out, and how it comes back.

    The servers are replicas: each serves the same models. A single server is never left out.

    Attributes:
        failures: connection failures and timeouts in a row after which a server gets no more requests.
        health_check_interval: seconds between questions to a server that is left out whether it is ready again.
    """

    failures: int = 2
    health_check_interval: float = 1.0

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if self.failures < 1:
            raise ValueError(f"failures must be at least 1, got {self.failures}")
        if not self.health_check_interval > 0:
            raise ValueError(f"health_check_interval must be positive seconds, got {self.health_check_interval}")


@dataclass(frozen=True)
class ServerStatus:
    """What a client knows of one of its servers.

    Attributes:
        url: ``host:port``.
        ejected: whether it gets no requests until a health check finds it ready.
        outstanding: this client's requests under way at it.
        failures: failures since its last answer.
    """

    url: str
    ejected: bool
    outstanding: int
    failures: int


@dataclass
class _Server:
    url: str
    ejected: bool = False
    outstanding: int = 0
    failures: int = 0
    turn: int = field(default=0)


class Balancer:
    """Chooses servers and counts what comes of it; may be shared by threads."""

    def __init__(self, urls: Sequence[str], settings: Balancing) -> None:
        self._servers = {url: _Server(url) for url in urls}
        self._failures = settings.failures
        self._turns = itertools.count(1)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return how many servers there are."""
        return len(self._servers)

    def urls(self) -> list[str]:
        """Return the servers' addresses."""
        return list(self._servers)

    def acquire(self, tried: Collection[str]) -> str:
        """Return the server to ask and count a request to it.

        Servers that were ``tried`` before come after those that were not, and ejected ones last: when all are ejected,
        the requests themselves find out which is back.
        """
        with self._lock:
            server = min(
                self._servers.values(), key=lambda each: (each.ejected, each.url in tried, each.outstanding, each.turn)
            )
            server.outstanding += 1
            server.turn = next(self._turns)
            return server.url

    def release(self, url: str, error: BaseException | None) -> bool:
        """Count how a request ended; say whether the server was ejected for it."""
        with self._lock:
            server = self._servers[url]
            server.outstanding -= 1
            if isinstance(error, SERVER_FAILURES):
                server.failures += 1
                if len(self._servers) > 1 and server.failures >= self._failures and not server.ejected:
                    server.ejected = True
                    return True
            elif error is None:
                server.failures, server.ejected = 0, False
            return False

    def untried(self, tried: Collection[str]) -> bool:
        """Say whether a server that is not ejected was not asked yet."""
        with self._lock:
            return any(not server.ejected and server.url not in tried for server in self._servers.values())

    def ejected(self) -> list[str]:
        """Return the servers that are left out."""
        with self._lock:
            return [server.url for server in self._servers.values() if server.ejected]

    def restore(self, url: str) -> None:
        """Give a server requests again."""
        with self._lock:
            server = self._servers[url]
            server.failures, server.ejected = 0, False

    def statuses(self) -> list[ServerStatus]:
        """Return what is known of each server."""
        with self._lock:
            return [
                ServerStatus(server.url, server.ejected, server.outstanding, server.failures)
                for server in self._servers.values()
            ]
