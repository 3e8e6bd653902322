"""Carry a request to one of the servers, again where that may help, and ask servers that are left out how they are."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from trident_client._attempts import Attempts
from trident_client._balancing import Balancer, Balancing, ServerStatus
from trident_client._retry import Budget, Retry
from trident_client._types import AsyncTransport, Request, Response, Timeout, Transport
from trident_client.errors import NotReadyError, TridentError

Result = TypeVar("Result")


class Sender:
    """Sends for any number of threads.

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
        # How a server is now, waiting does not tell.
        self._once = replace(retry, attempts=len(transports))
        self._balancer = Balancer(list(transports), balancing)
        self._budget = Budget(retry)
        self._closed = threading.Event()
        self._checks_lock = threading.Lock()
        self._checks: threading.Thread | None = None

    def infer(self, request: Request, cancelled: threading.Event | None = None) -> Response:
        """Return the outputs; when ``cancelled`` is set meanwhile, nothing is tried again."""
        return self.ask(
            lambda transport, seconds: transport.infer(replace(request, timeout=seconds)), request.model, cancelled
        )

    def ask(
        self,
        question: Callable[[Transport, float], Result],
        model: str | None = None,
        cancelled: threading.Event | None = None,
        retry: Retry | None = None,
    ) -> Result:
        """Ask one server, and others or again where it fails; the question is given the seconds that are left."""
        stop = cancelled or self._closed
        attempts = Attempts(model, self._balancer, retry or self._retry, self._budget, self._timeout)
        while True:
            server, seconds = attempts.start()
            try:
                answer = question(self._transports[server], seconds)
            except BaseException as error:
                wait = attempts.failed(error)
                self._check_the_ejected()
                if wait is None or stop.wait(wait):
                    raise
            else:
                attempts.succeeded()
                return answer

    def ready(self, models: tuple[str, ...]) -> bool:
        """Say whether a server has all models ready."""

        def question(transport: Transport, seconds: float) -> None:
            if not transport.ready(models):
                raise NotReadyError("not ready")

        try:
            self.ask(question, retry=self._once)
        except NotReadyError:
            return False
        return True

    def each(self, question: Callable[[Transport], Result]) -> dict[str, Result]:
        """Ask every server once and return the answers of those that gave one; raise where none did."""
        answers: dict[str, Result] = {}
        errors: list[TridentError] = []
        for server, transport in self._transports.items():
            try:
                answers[server] = question(transport)
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
        for transport in self._transports.values():
            transport.close()

    def _check_the_ejected(self) -> None:
        with self._checks_lock:
            if self._checks is None and self._balancer.ejected() and not self._closed.is_set():
                # The thread must not keep a client alive that nobody closed.
                arguments = (weakref.ref(self), self._closed, self._interval)
                self._checks = threading.Thread(target=_check, args=arguments, name="trident-health", daemon=True)
                self._checks.start()

    def _restore_the_ready(self) -> bool:
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
                    raise
        with self._checks_lock:
            if not self._balancer.ejected():
                self._checks = None
            return self._checks is not None


def _check(reference: weakref.ref[Sender], closed: threading.Event, interval: float) -> None:
    while not closed.wait(interval):
        sender = reference()
        if sender is None or not sender._restore_the_ready():
            return
        del sender


class AsyncSender:
    """The same for one event loop."""

    def __init__(
        self, transports: Mapping[str, AsyncTransport], timeout: Timeout, retry: Retry, balancing: Balancing
    ) -> None:
        self._transports = dict(transports)
        self._timeout, self._retry, self._interval = timeout, retry, balancing.health_check_interval
        # How a server is now, waiting does not tell.
        self._once = replace(retry, attempts=len(transports))
        self._balancer = Balancer(list(transports), balancing)
        self._budget = Budget(retry)
        self._checks: asyncio.Task[None] | None = None
        self._closed = False

    async def infer(self, request: Request) -> Response:
        """Return the outputs."""
        return await self.ask(
            lambda transport, seconds: transport.infer(replace(request, timeout=seconds)), request.model
        )

    async def ask(
        self,
        question: Callable[[AsyncTransport, float], Awaitable[Result]],
        model: str | None = None,
        retry: Retry | None = None,
    ) -> Result:
        """Ask one server, and others or again where it fails."""
        attempts = Attempts(model, self._balancer, retry or self._retry, self._budget, self._timeout)
        while True:
            server, seconds = attempts.start()
            try:
                answer = await question(self._transports[server], seconds)
            except BaseException as error:
                wait = attempts.failed(error)
                self._check_the_ejected()
                if wait is None:
                    raise
            else:
                attempts.succeeded()
                return answer
            await asyncio.sleep(wait)

    async def ready(self, models: tuple[str, ...]) -> bool:
        """Say whether a server has all models ready."""

        async def question(transport: AsyncTransport, seconds: float) -> None:
            if not await transport.ready(models):
                raise NotReadyError("not ready")

        try:
            await self.ask(question, retry=self._once)
        except NotReadyError:
            return False
        return True

    async def each(self, question: Callable[[AsyncTransport], Awaitable[Result]]) -> dict[str, Result]:
        """Ask every server once and return the answers of those that gave one; raise where none did."""
        answers: dict[str, Result] = {}
        errors: list[TridentError] = []
        for server, transport in self._transports.items():
            try:
                answers[server] = await question(transport)
            except TridentError as error:
                error.server = server
                errors.append(error)
        if not answers:
            raise errors[0]
        return answers

    def statuses(self) -> list[ServerStatus]:
        """Return what is known of each server."""
        return self._balancer.statuses()

    async def close(self) -> None:
        """Stop asking, and release connections."""
        self._closed = True
        if self._checks is not None:
            self._checks.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._checks
        for transport in self._transports.values():
            await transport.close()

    def _check_the_ejected(self) -> None:
        if not self._closed and (self._checks is None or self._checks.done()) and self._balancer.ejected():
            self._checks = asyncio.get_running_loop().create_task(self._check())

    async def _check(self) -> None:
        while self._balancer.ejected():
            await asyncio.sleep(self._interval)
            for server in self._balancer.ejected():
                with contextlib.suppress(TridentError):
                    if await self._transports[server].ready(()):
                        self._balancer.restore(server)
