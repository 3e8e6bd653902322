"""Outlives its parent by a moment: stops Triton and removes its shared memory when the parent dies without a word.

Run as ``python guard.py <pipe> <pid> <shared-memory prefix>``. The parent holds the other end of the pipe for as long
as it lives; the end of the pipe is the end of the parent, however it came. Standard library only, so that it starts in
a few milliseconds.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from pathlib import Path

GRACE_SECONDS = 10.0
SHARED_MEMORY = Path("/dev/shm")


def stop_group(pid: int, pidfd: int, grace: float = GRACE_SECONDS) -> None:
    """Stop a process and its whole group: SIGTERM, up to ``grace`` seconds, then SIGKILL."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        select.select([pidfd], [], [], grace)
    # Triton's Python stubs share its group; they are gone already unless it had to be killed.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def remove_shared_memory(prefix: str) -> None:
    """Unlink what a killed Triton left in shared memory under its prefix."""
    for region in SHARED_MEMORY.glob(f"{prefix}*"):
        region.unlink(missing_ok=True)


def main() -> None:
    """Wait for the parent's end of the pipe to close, then clean up if there is anything to clean."""
    pipe, pid, prefix = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    select.select([pipe], [], [])
    if os.read(pipe, 1):
        return
    stop_group(pid, pidfd)
    remove_shared_memory(prefix)


if __name__ == "__main__":
    main()
