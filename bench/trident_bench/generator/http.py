"""HTTP/1.1 connections that are kept alive; answers are parsed by httptools."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import cast

import httptools

from trident_bench.errors import MeasurementError
from trident_bench.generator.loop import Connector, Send

MOST_SHOWN = 200


class HttpConnection(asyncio.Protocol):
    """One connection, for one request at a time; opened when it is first needed, and again once the server closed it.

    Args:
        host: of the server.
        port: of the server.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._transport: asyncio.WriteTransport | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []

    async def send(self, request: bytes) -> bytes:
        """Send a whole request and return the answer's body.

        Raises:
            MeasurementError: the status is not 200, or the connection is lost.
            OSError: nobody answers there.
        """
        loop = asyncio.get_running_loop()
        if self._transport is None or self._transport.is_closing():
            transport, _ = await loop.create_connection(lambda: self, self._host, self._port)
            self._transport = cast(asyncio.WriteTransport, transport)
            self._parser = httptools.HttpResponseParser(self)
        self._answer = loop.create_future()
        self._transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self._parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        """Called by asyncio."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(MeasurementError(f"the server closed the connection: {error}"))

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
            reason = body[:MOST_SHOWN].decode(errors="replace")
            self._answer.set_exception(MeasurementError(f"status {status}: {reason}"))

    def close(self) -> None:
        """Close."""
        if self._transport is not None:
            self._transport.close()


def http(address: str) -> Connector:
    """Send over HTTP/1.1, one connection a request under way; ``address`` is ``host:port``, or a URL of it."""
    host, _, port = address.removeprefix("http://").rstrip("/").partition(":")

    async def connect(stack: AsyncExitStack, count: int) -> list[Send]:
        connections = [HttpConnection(host, int(port)) for _ in range(count)]
        for each in connections:
            stack.callback(each.close)
        return [each.send for each in connections]

    return connect


def http_request(address: str, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """Return a POST as bytes."""
    lines = {"host": address.removeprefix("http://"), "content-length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body
