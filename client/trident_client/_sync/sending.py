# Made from ../_async/sending.py by scripts/unasync.py: change that, not this.
"""Carry a request to one of the servers, again where that may help, and ask servers that are left out how they are."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from trident_client._attempts import Attempts
from trident_client._balancing import Balancer, Balancing, ServerStatus
from trident_client._retry import Budget, Retry
from trident_client._sync.concurrency import Background, Event, cancel, start
from trident_client._sync.transport import Transport
from trident_client._types import Request, Response, Timeout
from trident_client.errors import NotReadyError, TridentError

Result = TypeVar("Result")


class Sender:
    """Sends, from any number of threads.

    Args:
        transports: one for each server, by the server's name.
        timeout: holds the deadline of each request.
        retry: what is done when a request fails.
        balancing: what is done when a server fails.
    """

    def __init__(
        self, transports: Mapping[str, Transport], timeout: Timeout, retry: Retry, balancing: Balancing
    ) -> None:
        self._transports = dict(transports)
        self._timeout, self._retry, self._interval = timeout, retry, balancing.health_check_interval
        # Waiting does not tell how a server is now.
        self._one_round = replace(retry, attempts=len(transports))
        self._balancer = Balancer(list(transports), balancing)
        self._budget = Budget(retry)
        self._closed = Event()
        self._health_checks_lock = threading.Lock()
        self._health_checks: Background | None = None

    def infer(self, request: Request, stop: Event | None = None) -> Response:
        """Return the outputs; when ``stop`` is set meanwhile, nothing is tried again."""
        return self.call(
            lambda transport, seconds: transport.infer(replace(request, timeout=seconds)), request.model, stop
        )

    def call(
        self,
        operation: Callable[[Transport, float], Result],
        model: str | None = None,
        stop: Event | None = None,
        retry: Retry | None = None,
    ) -> Result:
        """Ask one server, and others or again where it fails; the question is given the seconds that are left."""
        stop = stop or self._closed
        attempts = Attempts(model, self._balancer, retry or self._retry, self._budget, self._timeout)
        while True:
            server, seconds = attempts.start()
            try:
                answer = operation(self._transports[server], seconds)
            except BaseException as error:
                wait = attempts.failed(error)
                self._start_health_checks()
                if wait is None or stop.wait(wait) or self._closed.is_set():
                    raise
            else:
                attempts.succeeded()
                return answer

    def ready(self, models: tuple[str, ...]) -> bool:
        """Say whether a server has all models ready."""

        def operation(transport: Transport, seconds: float) -> None:
            if not transport.ready(models):
                raise NotReadyError("not ready")

        try:
            self.call(operation, retry=self._one_round)
        except NotReadyError:
            return False
        return True

    def call_each(self, operation: Callable[[Transport], Result]) -> dict[str, Result]:
        """Ask every server once and return the answers of those that gave one; raise where none did."""
        answers: dict[str, Result] = {}
        errors: list[TridentError] = []
        for server, transport in self._transports.items():
            try:
                answers[server] = operation(transport)
            except TridentError as error:
                error.server = server
                errors.append(error)
        if not answers:
            raise errors[0]
        return answers

    def statuses(self) -> list[ServerStatus]:
        """Return what is known of each server."""
        return self._balancer.statuses()

    def close(self) -> None:
        """Stop asking, and release connections."""
        self._closed.set()
        with self._health_checks_lock:
            health_checks, self._health_checks = self._health_checks, None
        if health_checks is not None:
            cancel(health_checks)
        for transport in self._transports.values():
            transport.close()

    def _start_health_checks(self) -> None:
        with self._health_checks_lock:
            if self._health_checks is None and self._balancer.ejected() and not self._closed.is_set():
                # The checks must not keep a client alive that nobody closed.
                self._health_checks = start(
                    "trident-health", _run_health_checks, weakref.ref(self), self._closed, self._interval
                )

    def _restore_ready(self) -> bool:
        """Give servers that are ready requests again; say whether any is still left out."""
        for server in self._balancer.ejected():
            try:
                if self._transports[server].ready(()):
                    self._balancer.restore(server)
            except TridentError:
                pass
            except Exception:
                # A transport that was closed meanwhile says so in its library's own words.
                if not self._closed.is_set():
                    self._health_checks = None
                    raise
        with self._health_checks_lock:
            if not self._balancer.ejected():
                self._health_checks = None
            return self._health_checks is not None


def _run_health_checks(reference: weakref.ref[Sender], closed: Event, interval: float) -> None:
    while not closed.wait(interval):
        sender = reference()
        if sender is None or not sender._restore_ready():
            return
        del sender
