"""Stands between Trident and a server process, so that the server never outlives Trident.

Run as ``python supervisor.py <socket> <grace> <shared-memory prefix> <program> <arguments ...>``. The parent holds the
socket's other end; it learns the server's process id from it, and its closing means "stop": asked for or because the
parent died, SIGKILL included, it is the same event. Stopping is SIGTERM, up to ``grace`` seconds, SIGKILL for
whatever is left of the server's process group, and the removal of shared memory under the prefix. The exit status is
the server's; 128 + n when signal n killed it, as in a shell.

Standard library only, so that it starts in a few milliseconds. Should the supervisor itself be killed, the kernel
kills the server (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
IGNORED = (signal.SIGINT, signal.SIGHUP)

_libc = ctypes.CDLL(None, use_errno=True)


def remove_shared_memory(prefix: str) -> None:
    """Unlink the shared-memory regions under ``prefix``."""
    for region in SHARED_MEMORY.glob(f"{prefix}*"):
        remove_region(region)


def remove_region(region: Path) -> None:
    """Unlink a shared-memory region, if it is there and belongs to this user."""
    with contextlib.suppress(FileNotFoundError):
        if region.lstat().st_uid == os.geteuid():
            region.unlink()


def main() -> int:
    """Start the server, wait for its end or the order to end it, and clean up.

    Returns:
        The server's exit status.
    """
    lifeline, grace, prefix, command = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4:]
    wake = _wake_on(signal.SIGCHLD, signal.SIGTERM)
    # Orphans of a crashed server come to us instead of to init, which not every container has.
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    server = subprocess.Popen(command, start_new_session=True, preexec_fn=_die_with_supervisor)
    # Only now: what is ignored at exec stays ignored in the server.
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    # The parent may be dead already; the loop below finds out.
    with contextlib.suppress(BrokenPipeError):
        os.write(lifeline, f"{server.pid}\n".encode())

    while not _has_ended(server.pid) and lifeline not in select.select([lifeline, wake], [], [])[0]:
        if signal.SIGTERM in os.read(wake, 512):
            break
    status = _stop(server.pid, wake, grace)
    remove_shared_memory(prefix)
    return status if status >= 0 else 128 - status


def _wake_on(*numbers: signal.Signals) -> int:
    """Return a descriptor that becomes readable when one of these signals arrives, with its number as the byte."""
    reading, writing = os.pipe()
    for end in (reading, writing):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(writing)
    for number in numbers:
        signal.signal(number, lambda *_: None)
    return reading


def _die_with_supervisor() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _has_ended(pid: int) -> bool:
    # Not reaped: as long as it is a zombie, nobody else can get its process group's number.
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _stop(group: int, wake: int, grace: float) -> int:
    """Stop a process group, wait until none of it is left, and return the exit code of its leader."""
    deadline = time.monotonic() + grace
    if not _has_ended(group):
        os.kill(group, signal.SIGTERM)
        # Who is halted heeds nothing until it goes on.
        os.killpg(group, signal.SIGCONT)
    while not _has_ended(group) and (left := deadline - time.monotonic()) > 0:
        select.select([wake], [], [], left)
        with contextlib.suppress(BlockingIOError):
            os.read(wake, 512)
    os.killpg(group, signal.SIGKILL)
    status = 0
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, wait_status = os.waitpid(-group, 0)
            if pid == group:
                status = os.waitstatus_to_exitcode(wait_status)
    return status


if __name__ == "__main__":
    sys.exit(main())
