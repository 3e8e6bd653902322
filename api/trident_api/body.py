"""Bodies are bounded, and read as JSON, before anything looks at them.

Plain ASGI, so that an oversized body is refused as soon as it is known to be too long, and never held whole.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trident_api.call import Call
from trident_api.inflating import inflated
from trident_api.problems import problem

#: Seconds after which a body that still arrives gives way when others need its room. Else a few that end one byte early
#: would shut everyone out; on a network as fast as most, whoever means to end has.
SLOW_SECONDS = 5.0


@dataclass(eq=False)
class _Arrival:
    """A body that arrives.

    Attributes:
        sender: whose it is: a key, or an address.
        began: when its request did, and ``until`` when it must have arrived; in the event loop's time.
        read: bytes of it that are held.
        limit: how long its next part is waited for; None while none is.
        gave_way: whether others needed its room.
        ended: whether all of it has arrived.
    """

    sender: Hashable
    began: float
    until: float
    read: int = 0
    limit: asyncio.Timeout | None = None
    gave_way: bool = False
    ended: bool = False

    def give_way(self) -> None:
        """Wait for no more of it."""
        self.gave_way = True
        if self.limit is not None:
            self.limit.reschedule(0.0)


class BoundedBody:
    """Bounds every body; reads one of JSON, requires UTF-8, and declares it JSON whatever the client called it.

    The systems Trident replaces are called with ``data=json.dumps(...)`` and any content type at all. What is
    compressed by gzip is bounded as it comes out.

    Args:
        app: the application behind.
        limit_of: the longest body that a path accepts, in bytes.
        max_held: bytes of all bodies of the requests under way; one that would not fit is refused, unless slow ones
            give way.
        max_held_each: the same of one key's, or, without keys, one address's.
        timeout: seconds in which a body must arrive.
        uploads: paths that take a form with a file, which passes through as it arrives.
        retry_after: tells after how many seconds one that did not fit may be sent again.
    """

    def __init__(
        self,
        app: ASGIApp,
        limit_of: Callable[[str], int],
        max_held: int,
        max_held_each: int,
        timeout: float,
        uploads: Collection[str] = (),
        retry_after: Callable[[], float] = lambda: 1,
    ) -> None:
        self.app = app
        self.limit_of = limit_of
        self.max_held = max_held
        self.max_held_each = max_held_each
        self.timeout = timeout
        self.uploads = frozenset(uploads)
        self.retry_after = retry_after
        self._held = 0
        self._held_of: Counter[Hashable] = Counter()
        self._arriving: set[_Arrival] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["method"] not in {"POST", "PUT", "PATCH", "DELETE"}:
            await self.app(scope, receive, send)
            return
        limit = self.limit_of(scope["path"])
        now = asyncio.get_running_loop().time()
        arrival = _Arrival(_sender(scope), now, now + self.timeout)
        self._arriving.add(arrival)

        async def counted() -> Message:
            message = await source() if arrival.ended else await self._next_part(source, arrival)
            self._hold(arrival, len(message.get("body", b"")))
            if not message.get("more_body", False):
                arrival.ended = True
                self._arriving.discard(arrival)
            if arrival.read > limit:
                raise _too_long(limit)
            self._make_room(arrival)
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
            self._arriving.discard(arrival)
            self._hold(arrival, -arrival.read)

    async def _next_part(self, source: Receive, arrival: _Arrival) -> Message:
        """Return what comes next of a body.

        Raises:
            HTTPException: it does not come in time, or others needed the room of what has come.
        """
        message: Message | None = None
        try:
            async with asyncio.timeout_at(0.0 if arrival.gave_way else arrival.until) as arrival.limit:
                message = await source()
        except TimeoutError:
            pass
        finally:
            arrival.limit = None
        if message is None or arrival.gave_way:
            seconds, why = (SLOW_SECONDS, ", and others needed its room") if arrival.gave_way else (self.timeout, "")
            detail = f"The body did not arrive within {seconds:g} s{why}."
            raise HTTPException(408, detail, headers={"connection": "close"})
        return message

    def _hold(self, arrival: _Arrival, size: int) -> None:
        arrival.read += size
        self._held += size
        self._held_of[arrival.sender] += size
        if not self._held_of[arrival.sender]:
            del self._held_of[arrival.sender]

    def _make_room(self, arrival: _Arrival) -> None:
        """Let slow bodies give way, the largest first, until what has come of one has room.

        Raises:
            HTTPException: it has none.
        """
        while True:
            if self._held_of[arrival.sender] > self.max_held_each:
                whose, most = "The requests under way of one key, or address,", self.max_held_each
                others = {each for each in self._arriving if each.sender == arrival.sender}
            elif self._held > self.max_held:
                whose, most, others = "The requests under way", self.max_held, self._arriving
            else:
                return
            began = asyncio.get_running_loop().time() - SLOW_SECONDS
            slow = max((each for each in others if each.began <= began), key=lambda each: each.read, default=arrival)
            if slow is arrival:
                after = math.ceil(self.retry_after())
                detail = f"{whose} hold {most} bytes, the most there may be; try again in {after} s."
                headers = {"retry-after": str(after), "connection": "close"}
                raise HTTPException(429, detail, headers=headers)
            self._arriving.discard(slow)
            self._hold(slow, -slow.read)
            slow.give_way()


class _RefusedError(Exception):
    """A body is refused before the application is asked; what the application raises is its own matter."""

    def __init__(self, refused: HTTPException) -> None:
        super().__init__(refused.detail)
        self.refused = refused


def _sender(scope: Scope) -> Hashable:
    """Return whose a request is: a key's, or, where none is asked for, an address's."""
    call: Call = scope["state"]["call"]
    return call.key or (scope.get("client") or ("",))[0]


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
