"""Bodies are bounded and read as JSON before anything looks at them.

Plain ASGI, so that an oversized body is refused as soon as it is known to be too long, and never held whole.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trident_api.problems import problem


class JsonBody:
    """Reads the body up to a limit, requires UTF-8, and declares it JSON whatever the client called it.

    The systems Trident replaces are called with ``data=json.dumps(...)`` and any content type at all.

    Args:
        app: the application behind.
        max_bytes: the longest body that is accepted.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["method"] not in {"POST", "PUT", "PATCH"}:
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self.max_bytes:
            await self._refuse_long(scope, receive, send)
            return
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if len(body) > self.max_bytes:
                await self._refuse_long(scope, receive, send)
                return
            if not message.get("more_body", False):
                break
        try:
            body.decode()
        except UnicodeDecodeError as error:
            detail = f"The body is not UTF-8 at byte {error.start}; JSON in UTF-8 is accepted."
            await problem(422, detail)(scope, receive, send)
            return
        kept = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
        scope = {**scope, "headers": [*kept, (b"content-type", b"application/json")]}
        await self.app(scope, _replay(bytes(body), receive), send)

    async def _refuse_long(self, scope: Scope, receive: Receive, send: Send) -> None:
        detail = f"The body is longer than {self.max_bytes} bytes, the most that is accepted."
        # The rest of the body is not read, so the connection cannot be used again.
        await problem(413, detail, headers={"connection": "close"})(scope, receive, send)


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
