"""Triton's log, for what runs inside Triton's process."""

from __future__ import annotations

import ctypes
from enum import IntEnum


class Level(IntEnum):
    """Triton's numbers of its levels."""

    INFO = 0
    WARN = 1
    ERROR = 2
    VERBOSE = 3


def log(level: Level, message: str) -> None:
    """Write a line to Triton's log; outside of Triton, to none."""
    write = getattr(ctypes.CDLL(None), "TRITONSERVER_LogMessage", None)
    if write is not None:
        write(int(level), b"trident_server", 0, message.encode(errors="replace"))
