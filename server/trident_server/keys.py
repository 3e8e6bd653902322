"""Keys for the facade's file of keys, which holds their digests: nobody who reads it can ask with them."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

from trident_server.files import using

#: So many random bytes, which nobody can try out: their plain digest needs no salt.
BYTES = 32


def new_key() -> tuple[str, str]:
    """Return a key, and the line that stands for it in a file of keys."""
    key = secrets.token_urlsafe(BYTES)
    return key, f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def append_line(file: Path, line: str) -> None:
    """Add a line to a file of keys, which nobody else may read where it is new.

    Raises:
        FileError: it cannot be written.
    """
    with using(file), os.fdopen(os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "r+b") as keys:
        # Somebody's editor may have left the last line open.
        if keys.seek(0, os.SEEK_END) and keys.seek(-1, os.SEEK_END) >= 0 and keys.read(1) != b"\n":
            line = "\n" + line
        keys.write(line.encode() + b"\n")
