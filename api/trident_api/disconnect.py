"""A client that goes away, or takes nothing of its answer, frees what its request holds, down to Triton."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trident_api.call import Call


class CancelWhenGone:
    """Cancels a request, once its body has arrived, when its client closes the connection or stops reading.

    Args:
        app: the application behind.
        send_timeout: seconds that a client may leave a part of its answer untaken.
    """

    def __init__(self, app: ASGIApp, send_timeout: float) -> None:
        self.app = app
        self.send_timeout = send_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        call: Call = scope["state"]["call"]
        arrived, disconnected = asyncio.Event(), asyncio.Event()
        finished = False
        if scope["method"] in {"GET", "HEAD"}:
            arrived.set()

        async def read() -> Message:
            if arrived.is_set():
                await disconnected.wait()
                return {"type": "http.disconnect"}
            message = await receive()
            if message["type"] == "http.disconnect":
                call.disconnected = True
                disconnected.set()
            if not message.get("more_body", False):
                arrived.set()
            return message

        async def write(message: Message) -> None:
            nonlocal finished
            finished = message["type"] == "http.response.body" and not message.get("more_body", False)
            try:
                async with asyncio.timeout(self.send_timeout):
                    await send(message)
            except TimeoutError:
                call.disconnected = True
                answering.cancel()
                # Until that arrives.
                await asyncio.Event().wait()

        async def answer() -> None:
            await self.app(scope, read, write)

        async def watch() -> None:
            await arrived.wait()
            while not disconnected.is_set():
                if (await receive())["type"] == "http.disconnect":
                    disconnected.set()

        watching = asyncio.create_task(watch())
        answering = asyncio.create_task(answer())
        try:
            await asyncio.wait({watching, answering}, return_when=asyncio.FIRST_COMPLETED)
            # A server calls it a disconnect too when the whole answer was sent.
            if not answering.done() and not finished:
                call.disconnected = True
                answering.cancel()
            await asyncio.wait({answering})
            if not (call.disconnected and answering.cancelled()):
                answering.result()
        finally:
            for task in (watching, answering):
                task.cancel()
            await asyncio.gather(watching, answering, return_exceptions=True)
