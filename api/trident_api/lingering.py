"""When it is told to stop, a facade serves on for a moment and tells each connection to close, then stops.

uvicorn stops at once: it closes the door upon those who are about to come in, and kept connections that may carry a
request just then, whose clients see them reset.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from types import FrameType

from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Enough for a client that keeps connections and is asking all the time to hear of it.
SECONDS = 1.0


class Linger:
    """Hands SIGTERM on to the server after a moment; until then, answers end with their connections.

    Args:
        app: the application behind.
        seconds: that moment.
    """

    def __init__(self, app: ASGIApp, seconds: float = SECONDS) -> None:
        self.app = app
        self.seconds = seconds
        self._stopping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or the server's start."""

        async def answer(message: Message) -> None:
            if self._stopping and message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), (b"connection", b"close")]}
            await send(message)

        async def start(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._wait_for_signal()
            await send(message)

        await self.app(scope, receive, start if scope["type"] == "lifespan" else answer)

    def _wait_for_signal(self) -> None:
        stop, loop = signal.getsignal(signal.SIGTERM), asyncio.get_running_loop()
        # Whoever runs the application in a thread, or takes no signals, stops it otherwise.
        if threading.current_thread() is not threading.main_thread() or not callable(stop):
            return

        def linger(number: int, frame: FrameType | None) -> None:
            # Whoever is in a hurry says so twice.
            if self._stopping:
                stop(number, frame)
                return
            self._stopping = True
            loop.call_soon_threadsafe(loop.call_later, self.seconds, stop, number, None)

        signal.signal(signal.SIGTERM, linger)
