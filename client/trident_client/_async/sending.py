"""Carry a request to one of the servers, again where that may help, and ask servers that are left out how they are."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TypeVar

from trident_client import _forking, _served
from trident_client._async.concurrency import Background, Event, Home, cancel, home_of, start
from trident_client._async.transport import AsyncTransport
from trident_client._attempts import Attempts
from trident_client._balancing import Balancer, Balancing, ServerStatus
from trident_client._retry import Budget, Retry
from trident_client._types import Configuration, Request, Response, Timeout
from trident_client.errors import BadInputError, NotReadyError, TridentError, UsageError

Result = TypeVar("Result")


class AsyncSender:
    """Sends, from one event loop.

    Connections are made when they are first used, and belong to the process, and to the event loop, that made them: in
    another they are made anew.

    Args:
        factories: make a transport to each server, by the server's name.
        given: transports that were made already, in the place of ``factories``; they are not made anew.
        timeout: holds the deadline of each request.
        retry: what is done when a request fails.
        balancing: what is done when a server fails.
    """

    def __init__(
        self,
        factories: Mapping[str, Callable[[], AsyncTransport]],
        given: Mapping[str, AsyncTransport],
        timeout: Timeout,
        retry: Retry,
        balancing: Balancing,
    ) -> None:
        self._factories, self._given, self._servers = factories, given, [*factories, *given]
        self._timeout, self._retry, self._balancing = timeout, retry, balancing
        # Waiting does not tell how a server is now.
        self._one_round = replace(retry, attempts=len(self._servers))
        self._is_closed = False
        self._begin()
        _forking.register(self)

    def _begin(self) -> None:
        """Own nothing, as at the beginning."""
        self._transports = dict(self._given)
        self._balancer = Balancer(self._servers, self._balancing)
        self._budget = Budget(self._retry)
        self._closed = Event()
        self._lock = threading.Lock()
        self._health_checks: Background | None = None
        self._home: Home = None
        # Models, and the outputs and inputs by which they can be asked.
        self._answerable: set[tuple[str, tuple[str, ...], tuple[str, ...]]] = set()

    def after_fork(self) -> None:
        """Leave to the parent what is the parent's."""
        self._begin()

    async def infer(self, request: Request, stop: Event | None = None) -> Response:
        """Return the outputs; when ``stop`` is set meanwhile, nothing is tried again."""
        try:
            return await self.call(
                lambda transport, seconds: transport.infer(replace(request, timeout=seconds)), request.model, stop
            )
        except NotReadyError as error:
            await self._name_served(error)
            raise
        except BadInputError as error:
            await self._name_task(error, request)
            raise

    async def configuration(self, model: str) -> Configuration:
        """Return a model's configuration."""
        try:
            return await self.call(lambda transport, seconds: transport.configuration(model), model)
        except NotReadyError as error:
            await self._name_served(error)
            raise

    async def _name_served(self, error: NotReadyError) -> None:
        """Have an error tell which sets of models are served, where the one it is of is none of them."""
        with contextlib.suppress(TridentError):
            served = await self._transport(error.server or self._servers[0]).index()
            error.args = (_served.not_served(error, served),)

    async def _name_task(self, error: BadInputError, request: Request) -> None:
        """Have an error tell of which task a model is, where what was asked is not of it.

        Of a model that can be asked so, this is found out once: bad items are many.
        """
        asked = request.model, request.outputs, tuple(request.inputs)
        if asked in self._answerable:
            return
        with contextlib.suppress(TridentError):
            configuration = await self._transport(error.server or self._servers[0]).configuration(request.model)
            if said := _served.other_task(request, configuration):
                error.args, error.reason = (said,), said
            else:
                self._answerable.add(asked)

    async def call(
        self,
        operation: Callable[[AsyncTransport, float], Awaitable[Result]],
        model: str | None = None,
        stop: Event | None = None,
        retry: Retry | None = None,
    ) -> Result:
        """Ask one server, and others or again where it fails; the question is given the seconds that are left."""
        self.enter()
        stop = stop or self._closed
        attempts = Attempts(model, self._balancer, retry or self._retry, self._budget, self._timeout)
        while True:
            server, seconds = attempts.start()
            try:
                answer = await operation(self._transport(server), seconds)
            except BaseException as error:
                if self._is_closed and isinstance(error, Exception) and not isinstance(error, TridentError):
                    raise UsageError("the client was closed while this was under way", model) from error
                wait = attempts.failed(error)
                self._start_health_checks()
                if wait is None or await stop.wait(wait) or self._closed.is_set():
                    raise
            else:
                attempts.succeeded()
                return answer

    async def ready(self, models: tuple[str, ...]) -> bool:
        """Say whether a server has all models ready."""

        async def operation(transport: AsyncTransport, seconds: float) -> None:
            if not await transport.ready(models):
                raise NotReadyError("not ready")

        try:
            await self.call(operation, retry=self._one_round)
        except NotReadyError:
            return False
        return True

    async def call_each(self, operation: Callable[[AsyncTransport], Awaitable[Result]]) -> dict[str, Result]:
        """Ask every server once and return the answers of those that gave one; raise where none did."""
        self.enter()
        answers: dict[str, Result] = {}
        errors: list[TridentError] = []
        for server in self._servers:
            try:
                answers[server] = await operation(self._transport(server))
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
        servers = list(self._transports)
        self._come_home()
        self._is_closed = True
        self._closed.set()
        with self._lock:
            health_checks, self._health_checks = self._health_checks, None
        if health_checks is not None:
            await cancel(health_checks)
        for server in servers:
            await self._transport(server).close()

    def enter(self) -> None:
        """Refuse a client that is closed, and make what runs now its home.

        Raises:
            UsageError: the client is closed, or used in an event loop while another that it is used in runs.
        """
        if self._is_closed:
            raise UsageError("the client is closed; a new one is needed")
        self._come_home()

    def _come_home(self) -> None:
        """In another event loop than before, own nothing of the last, whose connections cannot even be closed here."""
        home = home_of(self._home)
        if self._home is not None and home is not self._home:
            self._begin()
        self._home = home

    def _transport(self, server: str) -> AsyncTransport:
        with self._lock:
            if server not in self._transports:
                self._transports[server] = self._factories[server]()
            return self._transports[server]

    def _start_health_checks(self) -> None:
        with self._lock:
            if self._health_checks is None and self._balancer.ejected() and not self._closed.is_set():
                # The checks must not keep a client alive that nobody closed.
                interval = self._balancing.health_check_interval
                self._health_checks = start(
                    "trident-health", _run_health_checks, weakref.ref(self), self._closed, interval
                )

    async def _restore_ready(self) -> bool:
        """Give servers that are ready requests again; say whether any is still left out."""
        for server in self._balancer.ejected():
            try:
                if await self._transport(server).ready(()):
                    self._balancer.restore(server)
            except TridentError:
                pass
            except Exception:
                # A transport that was closed meanwhile says so in its library's own words.
                if not self._closed.is_set():
                    self._health_checks = None
                    raise
        with self._lock:
            if not self._balancer.ejected():
                self._health_checks = None
            return self._health_checks is not None


async def _run_health_checks(reference: weakref.ref[AsyncSender], closed: Event, interval: float) -> None:
    while not await closed.wait(interval):
        sender = reference()
        if sender is None or sender._closed is not closed or not await sender._restore_ready():
            return
        del sender
