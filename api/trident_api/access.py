"""Who may ask: keys from a file, which may change while the facade runs."""

from __future__ import annotations

import hashlib
import hmac
import logging
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from trident_api.problems import problem

LOG = logging.getLogger(__name__)
#: What anyone may see: health, for whoever restarts the facade, and pages, which hold no data.
OPEN = ("/", "/docs", "/openapi.json")
OPEN_BELOW = ("/health/", "/static/")


class Keys:
    """The keys of a file, one a line; blank lines and those that begin with ``#`` are none.

    The file is read again when it changes, so that a key comes and goes without a restart. A file that cannot be read,
    or has no key, lets nobody in.

    Args:
        file: the file.

    Raises:
        ValueError: the file has no key, or cannot be read, when the facade starts.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen: tuple[int, ...] | None = None
        self._digests: list[bytes] = []
        self._refresh()
        if not self._digests:
            raise ValueError(
                f"TRIDENT_API_KEYS_FILE: '{file}' must be a file in UTF-8 with at least one key, one a line"
            )

    def accept(self, key: bytes) -> bool:
        """Say whether a key is one of the file's, in a time that does not depend on how much of it is right."""
        self._refresh()
        digest = hashlib.sha256(key).digest()
        # All are compared, whichever fits; digests are of one length whatever the keys are.
        found = 0
        for each in self._digests:
            found |= hmac.compare_digest(digest, each)
        return bool(found)

    def _refresh(self) -> None:
        seen: tuple[int, ...] = ()
        lines = []
        try:
            facts = self._file.stat()
            seen = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
            if seen == self._seen:
                return
            lines = [line.strip() for line in self._file.read_text("utf-8-sig").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            if self._seen != seen:
                LOG.warning("keys cannot be read", extra={"reason": type(error).__name__})
        self._seen = seen
        self._digests = [hashlib.sha256(line.encode()).digest() for line in lines if line and not line.startswith("#")]


class RequireKey:
    """Asks for ``Authorization: Bearer <key>`` on all but the open paths, before a body is read.

    Args:
        app: the application behind.
        keys: those that are accepted.
    """

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self.app = app
        self.keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or _is_open(scope["method"], scope["path"]):
            await self.app(scope, receive, send)
            return
        kind, _, key = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
        if kind.lower() == b"bearer" and self.keys.accept(key.strip()):
            await self.app(scope, receive, send)
            return
        detail = (
            "A key is needed: the header `Authorization: Bearer <key>` with one of the keys that this server accepts."
        )
        headers = {"www-authenticate": "Bearer", "connection": "close"}
        await problem(401, detail, headers=headers)(scope, receive, send)


def _is_open(method: str, path: str) -> bool:
    return method in {"GET", "HEAD"} and (path in OPEN or path.startswith(OPEN_BELOW))
