"""Keeps the memory that a training step frees for the next one."""

from __future__ import annotations

import ctypes
import sys

# Parameters of glibc's mallopt(3), from malloc.h.
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_MAX = -4
#: Bytes asked of the kernel at a time.
_TOP_PAD = 256 * 2**20


def keep_freed_memory() -> None:
    """Stop this process from giving freed memory back to the kernel, where the C library is glibc.

    Every activation is larger than glibc's limit for memory of its own mapping, which is given back as soon as it is
    freed, so that the next step has every page of it mapped and zeroed again: about a fifth of a step on a processor.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)
        mallopt(_M_TOP_PAD, _TOP_PAD)
