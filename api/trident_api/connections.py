"""Connections on which a request's head must arrive in time: uvicorn itself waits for one for ever."""

from __future__ import annotations

import asyncio
from typing import cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from trident_api.problems import ProblemResponse, problem
from trident_api.settings import HEAD_TIMEOUT


class PatientProtocol(HttpToolsProtocol):
    """Closes connections that send nothing, as idle ones between requests, and those that send a head too slowly."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count a new connection as one that is idle."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def data_received(self, data: bytes) -> None:
        """Read, and wait for the rest of a head that has begun."""
        super().data_received(data)
        answered = self.cycle is None or self.cycle.response_complete
        if answered and self._late is None and not self.transport.is_closing():
            # Most heads arrive whole, and need no timer.
            seconds = self.app_state.get(HEAD_TIMEOUT)
            self._late = seconds and self.loop.call_later(seconds, self._refuse, seconds)

    def on_headers_complete(self) -> None:
        """Begin a request."""
        self._wait_no_longer()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._wait_no_longer()
        super().connection_lost(exc)

    def _wait_no_longer(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _refuse(self, seconds: float) -> None:
        self._late = None
        if self.transport.is_closing():
            return
        answer = cast(ProblemResponse, problem(408, f"The request's head did not arrive within {seconds:g} s."))
        headers = [*answer.raw_headers, (b"connection", b"close")]
        head = b"".join(b"%b: %b\r\n" % each for each in headers)
        self.transport.write(STATUS_LINE[408] + head + b"\r\n" + bytes(answer.body))
        self.transport.close()
