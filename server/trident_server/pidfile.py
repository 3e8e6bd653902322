"""The pid file of ``trident-serve``: one server per run-time directory, and ``--stop`` never hits a stranger.

The file holds the process id and the process's start time in clock ticks since boot. A lock on it, which the kernel
drops however its holder dies, decides whether a server runs; the start time tells a process that got the same id later.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from trident_server.errors import AlreadyRunningError, NotRunningError, ServerError
from trident_server.files import ELSEWHERE, using

NAME = "trident-serve.pid"
POLL_SECONDS = 0.05
STOP_TIMEOUT_SECONDS = 60.0


@contextlib.contextmanager
def hold(cache_dir: Path) -> Iterator[None]:
    """Be the server of ``cache_dir`` for as long as the context lasts.

    Raises:
        AlreadyRunningError: another process is.
        FileError: the directory cannot be made or written.
    """
    path = cache_dir / NAME
    with using(path, ELSEWHERE):
        # Not exist_ok: when a file is in the way, opening says so more clearly.
        with contextlib.suppress(FileExistsError):
            cache_dir.mkdir(parents=True)
        # Unbuffered: what a full disk refused would be refused once more when the file is closed.
        file = path.open("ab+", buffering=0)
    with file:
        with using(path, ELSEWHERE):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                pid = (file.read().decode(errors="replace").split() or ["of unknown id"])[0]
                raise AlreadyRunningError(
                    f"A trident-serve already runs with {cache_dir} (process {pid}): stop it with "
                    f"`trident-serve --stop --cache-dir {cache_dir}`, or give this one another --cache-dir."
                ) from None
            # Emptied and never unlinked: a lock on an unlinked file would keep nobody out.
            file.truncate(0)
            file.write(f"{os.getpid()} {_start_ticks(os.getpid())}\n".encode())
        try:
            yield
        finally:
            file.truncate(0)


def running(cache_dir: Path) -> int | None:
    """Return the process id of the server of ``cache_dir``; None where none runs, or that cannot be read."""
    try:
        pid, ticks = (int(field) for field in (cache_dir / NAME).read_text().split())
    except (OSError, ValueError):
        return None
    return pid if _start_ticks(pid) == ticks else None


def stop(cache_dir: Path, timeout: float = STOP_TIMEOUT_SECONDS) -> int:
    """Stop the server of ``cache_dir`` with SIGTERM, wait until it is gone, and return its process id.

    Raises:
        NotRunningError: none runs. A stranger that got its process id since is left alone.
        FileError: the directory cannot be read.
        ServerError: it is another user's, or did not stop in ``timeout`` seconds.
    """
    with using(cache_dir / NAME):
        try:
            pid, ticks = (int(field) for field in (cache_dir / NAME).read_text().split())
        except (FileNotFoundError, ValueError):
            raise NotRunningError(f"No trident-serve runs with {cache_dir}.") from None
    if _start_ticks(pid) != ticks:
        raise NotRunningError(f"No trident-serve runs with {cache_dir} (process {pid}, which did, is gone).")
    try:
        os.kill(pid, signal.SIGTERM)
    except PermissionError:
        raise ServerError(f"trident-serve (process {pid}) is another user's, who alone may stop it.") from None
    except ProcessLookupError:
        pass
    deadline = time.monotonic() + timeout
    while _start_ticks(pid) == ticks:
        if time.monotonic() > deadline:
            raise ServerError(f"trident-serve (process {pid}) did not stop within {timeout:g} s.")
        time.sleep(POLL_SECONDS)
    return pid


def _start_ticks(pid: int) -> int | None:
    """Start time of a process (field 22 of proc_pid_stat(5)); None when it is gone or a zombie."""
    try:
        # The name in parentheses may hold anything, parentheses included.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])
