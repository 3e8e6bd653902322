"""Every request gets an id, is counted and logged, and its answer says where the time went."""

from __future__ import annotations

import logging
import re
import time
import traceback
import uuid
from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trident_api.call import Call
from trident_api.metrics import Metrics
from trident_api.problems import unexpected

LOG = logging.getLogger(__name__)
REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
#: As nginx calls a request whose client went away before it was answered.
CLIENT_GONE = 499
#: Characters of a header that names items of a list: all headers together may have 4,096 with many proxies.
MAX_RANGES = 2000
#: Asked for by machines every few seconds: logged at debug.
QUIET = ("/health/", "/metrics", "/static/")


class Observe:
    """The outermost layer: what happens inside, failures included, ends here.

    Args:
        app: the application behind.
        metrics: counts.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        given = dict(scope["headers"]).get(b"x-request-id", b"")
        call = Call(given.decode() if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex)
        scope.setdefault("state", {})["call"] = call
        status = None

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], *_headers(call)]}
            await send(message)

        self.metrics.in_flight.inc()
        try:
            await self.app(scope, receive, send_with_headers)
        except Exception as error:
            self._log_failure(call, error)
            if status is not None:
                # The answer is half sent: only a broken connection tells the client that it is not whole.
                raise _BrokenAnswerError from None
            await unexpected()(scope, receive, send_with_headers)
        finally:
            self.metrics.in_flight.dec()
            self._record(
                scope, call, CLIENT_GONE if call.disconnected else status or 500, time.perf_counter() - started
            )

    def _record(self, scope: Scope, call: Call, status: int, seconds: float) -> None:
        # Which route it was is known only inside, and nowhere when no route fits.
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"] in METHODS else "other"
        self.metrics.requests.labels(method, route, str(status)).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        level = logging.WARNING if status >= 500 else logging.INFO
        if status < 400 and scope["path"].startswith(QUIET):
            level = logging.DEBUG
        if not LOG.isEnabledFor(level):
            return
        facts = {
            "request_id": call.request_id,
            "method": method,
            "route": route,
            "status": status,
            "seconds": round(seconds, 6),
            "queue_seconds": call.queue_seconds,
            "inference_seconds": call.inference_seconds,
            "task": call.task,
            "size": call.size,
            "truncated": call.truncated or None,
            "unknown_tokens": call.unknown or None,
        }
        LOG.log(level, "request", extra={name: value for name, value in facts.items() if value is not None})

    def _log_failure(self, call: Call, error: Exception) -> None:
        frames = [f"{each.filename}:{each.lineno} {each.name}" for each in traceback.extract_tb(error.__traceback__)]
        facts = {"request_id": call.request_id, "error": type(error).__name__, "at": frames[-8:]}
        LOG.error("the facade failed", extra=facts)


class _BrokenAnswerError(Exception):
    """Says nothing: what failed stands in the log."""


def _headers(call: Call) -> list[tuple[bytes, bytes]]:
    headers = [(b"x-request-id", call.request_id.encode())]
    times = {b"x-queue-time": call.queue_seconds, b"x-inference-time": call.inference_seconds}
    headers += [(name, b"%.3f" % (1000 * value)) for name, value in times.items() if value is not None]
    if call.truncated:
        headers.append((b"x-truncated", b"true"))
    if call.unknown:
        headers.append((b"x-unknown-tokens", b"true"))
    if call.unread_language:
        headers.append((b"x-unread-language", call.unread_language.encode()))
    if call.truncated_items and (call.size or 0) > 1:
        headers.append((b"x-truncated-items", _ranges(call.truncated_items).encode()))
    if call.unknown_items and (call.size or 0) > 1:
        headers.append((b"x-unknown-items", _ranges(call.unknown_items).encode()))
    return headers


def _ranges(items: Sequence[int]) -> str:
    """Return numbers that rise, as ``0,3-7``; one list that would be longer than proxies take ends in ``...``."""
    ranges: list[list[int]] = []
    for each in items:
        if ranges and each == ranges[-1][1] + 1:
            ranges[-1][1] = each
        else:
            ranges.append([each, each])
    text = ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
    return text if len(text) <= MAX_RANGES else text[:MAX_RANGES].rpartition(",")[0] + ",..."
