"""What is left of a refused body is read and thrown away, so that its sender gets to the answer.

Most clients write a whole request before they read. A connection that is closed meanwhile breaks in their hands, and
the answer, which says why, is lost with it.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Of a body that was not read to its end, so much is still taken, for so long; then the connection is closed.
MAX_BYTES = 64 * 1024 * 1024
MAX_SECONDS = 10.0


class ReadToTheEnd:
    """Holds back the end of an answer, not the answer, until the body that it answers has arrived.

    Args:
        app: the application behind.
        max_bytes: how much is thrown away at most.
        max_seconds: for how long at most.
    """

    def __init__(self, app: ASGIApp, max_bytes: int = MAX_BYTES, max_seconds: float = MAX_SECONDS) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.max_seconds = max_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        headers = dict(scope["headers"]) if scope["type"] == "http" else {}
        if headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers:
            await self.app(scope, receive, send)
            return
        ended = begun = held = late = False

        async def read() -> Message:
            nonlocal ended, begun
            message = await receive()
            begun = True
            ended = message["type"] == "http.disconnect" or not message.get("more_body", False)
            return message

        async def write(message: Message) -> None:
            nonlocal held, late
            # Who waits for leave to send its body does not get it, and sends none; who was too slow has had its time.
            late = late or message.get("status") == HTTPStatus.REQUEST_TIMEOUT
            sends = (begun or b"expect" not in headers) and not late
            if message["type"] == "http.response.body" and not message.get("more_body", False) and sends and not ended:
                held = True
                message = {**message, "more_body": True}
            await send(message)

        await self.app(scope, read, write)
        if not held:
            return
        left = self.max_bytes
        try:
            async with asyncio.timeout(self.max_seconds):
                while not ended and left > 0:
                    left -= len((await read()).get("body", b""))
        except TimeoutError:
            pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})
