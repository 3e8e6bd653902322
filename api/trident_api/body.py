"""Bodies are bounded, and read as JSON, before anything looks at them.

Plain ASGI, so that an oversized body is refused as soon as it is known to be too long, and never held whole.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trident_api.inflating import inflated
from trident_api.problems import problem


class BoundedBody:
    """Bounds every body; reads one of JSON, requires UTF-8, and declares it JSON whatever the client called it.

    The systems Trident replaces are called with ``data=json.dumps(...)`` and any content type at all. What is
    compressed by gzip is bounded as it comes out.

    Args:
        app: the application behind.
        limit_of: the longest body that a path accepts, in bytes.
        max_held: bytes of all bodies of the requests under way; one that would not fit is refused.
        uploads: paths that take a form with a file, which passes through as it arrives.
        retry_after: seconds after which one that did not fit may be sent again.
    """

    def __init__(
        self,
        app: ASGIApp,
        limit_of: Callable[[str], int],
        max_held: int,
        uploads: Collection[str] = (),
        retry_after: int = 1,
    ) -> None:
        self.app = app
        self.limit_of = limit_of
        self.max_held = max_held
        self.uploads = frozenset(uploads)
        self.retry_after = retry_after
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["method"] not in {"POST", "PUT", "PATCH", "DELETE"}:
            await self.app(scope, receive, send)
            return
        limit = self.limit_of(scope["path"])
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await source()
            size = len(message.get("body", b""))
            read += size
            self._held += size
            if read > limit:
                raise _too_long(limit)
            if self._held > self.max_held:
                detail = f"The requests under way hold {self.max_held} bytes, the most there may be; try again later."
                headers = {"retry-after": str(self.retry_after), "connection": "close"}
                raise HTTPException(429, detail, headers=headers)
            return message

        try:
            source = _decoded(scope, receive, limit)
            if scope["path"] in self.uploads:
                await self.app(scope, counted, send)
            elif (body := await _whole(scope, counted)) is not None:
                await self.app(scope, _replay(body, receive), send)
        except _RefusedError as error:
            refused = error.refused
            await problem(refused.status_code, refused.detail, headers=refused.headers)(scope, receive, send)
        finally:
            self._held -= read


class _RefusedError(Exception):
    """A body is refused before the application is asked; what the application raises is its own matter."""

    def __init__(self, refused: HTTPException) -> None:
        super().__init__(refused.detail)
        self.refused = refused


def _decoded(scope: Scope, receive: Receive, limit: int) -> Receive:
    """Return what gives the body as it was before it was compressed.

    Raises:
        _RefusedError: it is compressed otherwise, or declared to be too long.
    """
    headers = dict(scope["headers"])
    declared = headers.get(b"content-length", b"0")
    # Beyond this many digits int() refuses.
    if declared.isdigit() and (len(declared) > 20 or int(declared) > limit):
        raise _RefusedError(_too_long(limit))
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding == b"identity":
        return receive
    if encoding not in {b"gzip", b"x-gzip"}:
        raise _RefusedError(
            HTTPException(
                415,
                "The body's content-encoding is not known; gzip is accepted, or none.",
                headers={"accept-encoding": "gzip, identity", "connection": "close"},
            )
        )
    # Its length is no longer the one that was declared. In place, as below.
    gone = {b"content-encoding", b"content-length"}
    scope["headers"] = [each for each in scope["headers"] if each[0] not in gone]
    return inflated(receive)


async def _whole(scope: Scope, receive: Receive) -> bytearray | None:
    """Return a body of JSON, and declare it such; None when its sender went away.

    Raises:
        _RefusedError: it is too long, or is not UTF-8.
    """
    body = bytearray()
    more = True
    while more:
        try:
            message = await receive()
        except HTTPException as error:
            raise _RefusedError(error) from None
        if message["type"] == "http.disconnect":
            scope["state"]["call"].disconnected = True
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
    try:
        body.decode()
    except UnicodeDecodeError as error:
        detail = f"The body is not UTF-8 at byte {error.start}; JSON in UTF-8 is accepted."
        raise _RefusedError(HTTPException(422, detail)) from None
    headers = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
    # In place: what is outside learns from the scope which route was taken.
    scope["headers"] = [*headers, (b"content-type", b"application/json")]
    return body


def _too_long(limit: int) -> HTTPException:
    # The rest of the body is not read, so the connection cannot be used again.
    detail = f"The body is longer than {limit} bytes, the most that is accepted."
    return HTTPException(413, detail, headers={"connection": "close"})


def _replay(body: bytearray, receive: Receive) -> Receive:
    pieces = [body]

    async def replay() -> Message:
        if not pieces:
            return await receive()
        # Held no longer here than it is needed.
        return {"type": "http.request", "body": bytes(pieces.pop()), "more_body": False}

    return replay
