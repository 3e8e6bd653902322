"""Who may ask: keys from a file, which may change while the facade runs."""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
import re
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from trident_api.admission import RefusedError
from trident_api.allowance import Allowance
from trident_api.problems import problem

LOG = logging.getLogger(__name__)
#: What anyone may see: health, for whoever restarts the facade, and pages, which hold no data.
OPEN = ("/", "/docs", "/openapi.json")
OPEN_BELOW = ("/health/", "/static/")
#: A key that is not written down itself.
HASHED = re.compile(r"sha256:([0-9a-fA-F]{64})(?:\s|$)")


class Keys:
    """The keys of a file, one a line; blank lines and those that begin with ``#`` are none.

    A line is a key, or ``sha256:`` and the key's SHA-256 in hexadecimal (``trident-serve key`` makes both), behind
    which anything may stand that says whose it is: who reads such a file has no key. A digest without salt and without
    rounds is enough for keys of 256 random bits, which nobody can try out.

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

    def find(self, key: bytes) -> bytes | None:
        """Return the digest of a key that is one of the file's, in a time that does not depend on how much is right."""
        self._refresh()
        digest = hashlib.sha256(key).digest()
        # All are compared, whichever fits; digests are of one length whatever the keys are.
        found = 0
        for each in self._digests:
            found |= hmac.compare_digest(digest, each)
        return digest if found else None

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
        self._digests = [_digest(line) for line in lines if line and not line.startswith("#")]


class RequireKey:
    """Asks for ``Authorization: Bearer <key>`` on all but the open paths, before a body is read.

    Args:
        app: the application behind.
        keys: those that are accepted.
        requests: what each key has left of its requests.
    """

    def __init__(self, app: ASGIApp, keys: Keys, requests: Allowance) -> None:
        self.app = app
        self.keys = keys
        self.requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or _is_open(scope["method"], scope["path"]):
            await self.app(scope, receive, send)
            return
        kind, _, key = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
        digest = self.keys.find(key.strip()) if kind.lower() == b"bearer" else None
        if digest is None:
            detail = (
                "A key is needed: the header `Authorization: Bearer <key>` with one of the keys that this server "
                "accepts."
            )
            headers = {"www-authenticate": "Bearer", "connection": "close"}
            await problem(401, detail, headers=headers)(scope, receive, send)
            return
        try:
            self.requests.take(digest, 1.0)
        except RefusedError as refusal:
            headers = {"retry-after": str(math.ceil(refusal.retry_after or 1.0)), "connection": "close"}
            await problem(429, str(refusal), headers=headers)(scope, receive, send)
            return
        scope["state"]["call"].key = digest
        await self.app(scope, receive, send)


def _digest(line: str) -> bytes:
    if found := HASHED.match(line):
        return bytes.fromhex(found[1])
    return hashlib.sha256(line.encode()).digest()


def _is_open(method: str, path: str) -> bool:
    return method in {"GET", "HEAD"} and (path in OPEN or path.startswith(OPEN_BELOW))
