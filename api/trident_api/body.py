"""Bodies are bounded, and read as JSON, before anything looks at them.

Plain ASGI, so that an oversized body is refused as soon as it is known to be too long, and never held whole.
"""

from __future__ import annotations

from collections.abc import Collection

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trident_api.problems import problem


class BoundedBody:
    """Bounds every body; reads one of JSON, requires UTF-8, and declares it JSON whatever the client called it.

    The systems Trident replaces are called with ``data=json.dumps(...)`` and any content type at all.

    Args:
        app: the application behind.
        max_bytes: the longest body that is accepted.
        uploads: paths, without a closing slash, that take a form with a file, which passes through as it arrives.
        max_file_bytes: the longest of those.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, uploads: Collection[str] = (), max_file_bytes: int = 0) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.uploads = frozenset(uploads)
        self.max_file_bytes = max_file_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["method"] not in {"POST", "PUT", "PATCH", "DELETE"}:
            await self.app(scope, receive, send)
            return
        is_upload = scope["path"].rstrip("/") in self.uploads
        limit = self.max_file_bytes if is_upload else self.max_bytes
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        # Beyond this many digits int() refuses.
        if declared.isdigit() and (len(declared) > 20 or int(declared) > limit):
            await problem(413, _too_long(limit), headers={"connection": "close"})(scope, receive, send)
        elif is_upload:
            await self.app(scope, _counting(receive, limit), send)
        else:
            await self._json(scope, receive, send)

    async def _json(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                scope["state"]["call"].disconnected = True
                return
            body += message.get("body", b"")
            if len(body) > self.max_bytes:
                # The rest of the body is not read, so the connection cannot be used again.
                await problem(413, _too_long(self.max_bytes), headers={"connection": "close"})(scope, receive, send)
                return
            if not message.get("more_body", False):
                break
        try:
            body.decode()
        except UnicodeDecodeError as error:
            detail = f"The body is not UTF-8 at byte {error.start}; JSON in UTF-8 is accepted."
            await problem(422, detail)(scope, receive, send)
            return
        headers = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
        # In place: what is outside learns from the scope which route was taken.
        scope["headers"] = [*headers, (b"content-type", b"application/json")]
        await self.app(scope, _replay(bytes(body), receive), send)


def _too_long(limit: int) -> str:
    return f"The body is longer than {limit} bytes, the most that is accepted."


def _counting(receive: Receive, limit: int) -> Receive:
    read = 0

    async def counting() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > limit:
            raise HTTPException(413, _too_long(limit), headers={"connection": "close"})
        return message

    return counting


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
