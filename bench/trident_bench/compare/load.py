"""A closed loop of requests: so many under way, each followed by the next as soon as it was answered.

The load is made on the cores that the servers compute on, so it must cost little, and the same for everybody: requests
are bytes that were made before, HTTP answers are parsed by httptools, and of gRPC answers the frames alone. What it did
cost is reported.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Protocol, cast

import httptools

from trident_bench.compare.statistics import Sample

WARM_UP_SHARE = 0.25
#: A slow server is measured longer, until every connection was answered so often; batches would else be cut in two.
TURNS = 4
LONGEST_SECONDS = 60.0

Ask = Callable[[bytes], Awaitable[bytes]]


class LoadError(RuntimeError):
    """A server did not answer as it should; the text says what it did."""


class Connector(Protocol):
    """Opens what requests are sent over."""

    async def __call__(self, stack: AsyncExitStack, count: int) -> list[Ask]:
        """Return ``count`` ways to ask, each for one request at a time."""


class HttpConnection(asyncio.Protocol):
    """One HTTP/1.1 connection that is kept alive."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []

    async def ask(self, request: bytes) -> bytes:
        """Send a whole request and return the answer's body.

        Raises:
            LoadError: the status is not 200, or the connection is lost.
        """
        if self._transport is None or self._transport.is_closing():
            raise LoadError("the server closed the connection")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self._parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        """Called by asyncio."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(LoadError(f"the server closed the connection: {error}"))

    def on_body(self, body: bytes) -> None:
        """Called by httptools."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Called by httptools."""
        body, status = b"".join(self._body), self._parser.get_status_code()
        self._body.clear()
        # The next answer needs a parser of its own.
        self._parser = httptools.HttpResponseParser(self)
        if self._answer is None or self._answer.done():
            return
        if status == 200:
            self._answer.set_result(body)
        else:
            self._answer.set_exception(LoadError(f"status {status}: {body[:200].decode(errors='replace')}"))

    def close(self) -> None:
        """Close."""
        if self._transport is not None:
            self._transport.close()


def http(address: str) -> Connector:
    """Ask over HTTP/1.1, one connection a request under way; ``address`` is ``host:port``."""
    host, _, port = address.partition(":")

    async def connect(stack: AsyncExitStack, count: int) -> list[Ask]:
        asks: list[Ask] = []
        for _ in range(count):
            _, connection = await asyncio.get_running_loop().create_connection(HttpConnection, host, int(port))
            stack.callback(connection.close)
            asks.append(connection.ask)
        return asks

    return connect


def http_request(address: str, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """Return a POST as bytes."""
    lines = {"host": address, "content-length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


async def ask_once(connector: Connector, request: bytes) -> bytes:
    """Ask one request and return its answer.

    Raises:
        LoadError: as the connection has it.
    """
    async with AsyncExitStack() as stack:
        (ask,) = await connector(stack, 1)
        return await ask(request)


async def closed_loop(
    connector: Connector, requests: Sequence[bytes], in_flight: int, seconds: float, turns: int = TURNS
) -> Sample:
    """Keep ``in_flight`` requests under way, after a warm-up of a quarter of the time.

    Requests that end while it is measured count, and only they.

    Args:
        connector: how to ask.
        requests: asked in turn, again from the first after the last.
        in_flight: how many at a time.
        seconds: how long at least.
        turns: and until this many answers for every connection have come.

    Raises:
        LoadError: a request failed, or there were not enough answers in :data:`LONGEST_SECONDS`; neither is measured.
    """
    meter = _Meter(time.perf_counter() + WARM_UP_SHARE * seconds, seconds, turns * in_flight)
    following = itertools.cycle(requests)

    async def work(ask: Ask) -> None:
        while not meter.done:
            request = next(following)
            started = time.perf_counter()
            await ask(request)
            meter.answered(started, time.perf_counter())

    async with AsyncExitStack() as stack:
        asks = await connector(stack, in_flight)
        try:
            # Somebody who never answers never comes to look at the time.
            async with asyncio.timeout(2 * (seconds + LONGEST_SECONDS)), asyncio.TaskGroup() as group:
                for ask in asks:
                    group.create_task(work(ask))
        except* TimeoutError:
            raise LoadError(f"there was no end to it after {2 * (seconds + LONGEST_SECONDS):g} s") from None
        except* (LoadError, OSError) as errors:
            raise LoadError(str(errors.exceptions[0])) from None
    return meter.sample()


class _Meter:
    """Counts answers from the first after the warm-up, which is not counted, to the one that is enough.

    From answer to answer, because batches answer in bursts: a measurement by the clock alone would cut bursts off.
    """

    def __init__(self, opens: float, seconds: float, least: int) -> None:
        self.done = False
        self._opens, self._seconds, self._least = opens, seconds, least
        self._begin: float | None = None
        self._processor = 0.0
        self._took = 0.0
        self._times: list[float] = []

    def answered(self, started: float, now: float) -> None:
        """Note an answer."""
        if self.done or now < self._opens:
            return
        if self._begin is None:
            self._begin, self._processor = now, time.process_time()
            return
        self._times.append(now - started)
        self._took = now - self._begin
        enough = self._took >= self._seconds and len(self._times) >= self._least
        if enough or self._took > self._seconds + LONGEST_SECONDS:
            self.done = True
            self._processor = time.process_time() - self._processor

    def sample(self) -> Sample:
        """Return what was measured.

        Raises:
            LoadError: there were too few answers.
        """
        if len(self._times) < self._least:
            raise LoadError(f"only {len(self._times)} requests were answered in {self._took:.0f} s")
        rate = len(self._times) / self._took
        return Sample(rate=rate, times=self._times, generator=self._processor / self._took)
