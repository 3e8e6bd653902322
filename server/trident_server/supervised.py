"""A child process that cannot outlive its parent."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from trident_server import supervisor
from trident_server.files import using

# Seconds beyond its grace period that a supervisor may take to kill and clean up.
SUPERVISOR_MARGIN = 10.0
PREFIX = "trident"
SUPERVISOR = (sys.executable, "-I", "-S", supervisor.__file__)

_serial = itertools.count()


class SupervisedProcess:
    """A child in a session of its own, started and stopped by a supervisor that also stops it when this process dies.

    Its own session, because Ctrl-C must reach it once, from us, and not from the terminal as well.

    Args:
        command: program and arguments; its shared-memory regions must carry ``shm_prefix``.
        log_file: where standard output and error go, appended to; what is there is kept as :func:`former` names it.
        environment: the child's whole environment.
        grace: seconds between SIGTERM and SIGKILL when it is stopped.
        shm_prefix: see :func:`new_shm_prefix`.

    Raises:
        FileError: the log cannot be written.
    """

    def __init__(
        self, command: Sequence[str], *, log_file: Path, environment: Mapping[str, str], grace: float, shm_prefix: str
    ) -> None:
        self._shm_prefix = shm_prefix
        self._grace = grace
        with using(log_file):
            log_file.parent.mkdir(parents=True, exist_ok=True)
            _keep(log_file)
            log_file.write_bytes(b"")
            # Appended to: who rotates logs may cut the file off while the child writes.
            log = log_file.open("ab")
        self._lifeline, theirs = socket.socketpair()
        with theirs, log:
            self._supervisor = subprocess.Popen(
                [*SUPERVISOR, str(theirs.fileno()), str(grace), shm_prefix, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        try:
            with self._lifeline.makefile() as reports:
                # Empty when the program could not be started; the log says why and the exit status is not 0.
                self.pid = int(reports.readline() or 0)
        except BaseException:
            self.stop()
            raise

    def poll(self) -> int | None:
        """Exit status of the child, 128 + n when signal n killed it; None while it or anything it left behind runs."""
        return self._supervisor.poll()

    def stop(self) -> None:
        """Stop the child and what it started, and remove its shared memory. Safe to call twice."""
        with contextlib.suppress(OSError):
            # Not only close: a copy of this end may live in a process forked from this one.
            self._lifeline.shutdown(socket.SHUT_RDWR)
        self._lifeline.close()
        try:
            self._supervisor.wait(self._grace + SUPERVISOR_MARGIN)
        except subprocess.TimeoutExpired:
            self._supervisor.kill()
            self._supervisor.wait()
        supervisor.remove_shared_memory(self._shm_prefix)


def former(log_file: Path) -> Path:
    """Return where the log of the start before is kept."""
    return log_file.with_name(f"{log_file.name}.1")


def _keep(log_file: Path) -> None:
    # Where a link leads, for the link is the operator's; devices and pipes have nothing to keep.
    file = log_file.resolve()
    if file.is_file() and file.stat().st_size:
        file.replace(former(file))


def describe_exit(status: int) -> str:
    """Put an exit status of :meth:`SupervisedProcess.poll` into words."""
    number = -status if status < 0 else status - 128
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(number).name}"
    return f"exited with status {status}"


def new_shm_prefix() -> str:
    """Return a prefix for shared-memory regions; it names the process, and its process-id namespace, they belong to."""
    return f"{PREFIX}-{_namespace()}-{os.getpid()}-{next(_serial)}-"


def remove_abandoned_shared_memory() -> None:
    """Unlink regions whose owner is dead: what is left when owner, supervisor and child were all killed at once.

    Only this user's: others' may not be unlinked, and where ``/proc`` hides their processes, those that live look dead.
    """
    for region in supervisor.SHARED_MEMORY.glob(f"{PREFIX}-{_namespace()}-*"):
        owner = re.match(rf"{PREFIX}-\d+-(\d+)-", region.name)
        if owner and not Path("/proc", owner[1]).exists():
            supervisor.remove_region(region)


def _namespace() -> int:
    # Containers may share /dev/shm and not process ids.
    return Path("/proc/self/ns/pid").stat().st_ino
