"""A child process that cannot outlive its parent."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from trident_server import guard


class GuardedProcess:
    """A child in a process group of its own, with a guard beside it that stops it when this process dies.

    Args:
        command: program and arguments.
        log_file: where standard output and error go; truncated.
        environment: the child's whole environment.
        shm_prefix: prefix of the shared-memory regions that are the child's; removed once it has stopped.
    """

    def __init__(
        self, command: Sequence[str], *, log_file: Path, environment: Mapping[str, str], shm_prefix: str
    ) -> None:
        self._shm_prefix = shm_prefix
        log_file.parent.mkdir(parents=True, exist_ok=True)
        with log_file.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                # Of its own, so that Ctrl-C reaches it once, from us, and its children can be stopped with it.
                start_new_session=True,
            )
        reading, self._pipe = os.pipe()
        self._guard = subprocess.Popen(
            [sys.executable, "-I", guard.__file__, str(reading), str(self.pid), shm_prefix],
            pass_fds=[reading],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(reading)

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._process.pid

    def poll(self) -> int | None:
        """Exit status of the child, or None while it runs."""
        return self._process.poll()

    def stop(self, grace: float) -> None:
        """Stop the child with SIGTERM, with SIGKILL after ``grace`` seconds, and clean up. Safe to call twice."""
        if self._guard.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            pidfd = os.pidfd_open(self.pid)
            guard.stop_group(self.pid, pidfd, grace)
            os.close(pidfd)
        self._process.wait()
        guard.remove_shared_memory(self._shm_prefix)
        with contextlib.suppress(BrokenPipeError):
            os.write(self._pipe, b".")
        os.close(self._pipe)
        self._guard.wait()
