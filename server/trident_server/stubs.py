"""The processes of Python models: Triton does not notice when one of them ends, so whoever started Triton looks."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable

import psutil

STUB = "triton_python_backend_stub"
# Its last argument but one or two is <model>_<group>_<instance>.
INSTANCE = re.compile(r"[^/]+_\d+_\d+")
# Seconds for which a process may be halted (SIGSTOP) before it counts as ended.
HALTED_SECONDS = 10.0


class Stubs:
    """The Python models' processes of one Triton.

    Args:
        grace: seconds that pass before the end of one is told.
        clock: seconds of a clock that only goes forward.
    """

    def __init__(self, grace: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.grace = grace
        self._clock = clock
        self._found: dict[psutil.Process, str] = {}
        self._since: dict[psutil.Process, float] = {}

    def follow(self, triton: int) -> None:
        """Look for new ones below the process ``triton``; nothing is found where that is gone already."""
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(triton).children():
                with contextlib.suppress(psutil.Error):
                    command = child.cmdline()
                    if command and command[0].endswith(STUB):
                        names = [each.rsplit("_", 2)[0] for each in command[1:] if INSTANCE.fullmatch(each)]
                        self._found[child] = names[-1] if names else "of unknown name"

    def ended(self) -> str | None:
        """Return what happened to the first that does not run any more, or None."""
        now = self._clock()
        for process, model in self._found.items():
            state = _state(process)
            if state is None:
                self._since.pop(process, None)
                continue
            since = self._since.setdefault(process, now)
            if now - since >= (HALTED_SECONDS if state == "is halted" else self.grace):
                return f"The process of the Python model '{model}' {state} (process {process.pid})."
        return None


def runs(pid: int) -> bool:
    """Say whether a process runs, or is halted, and is not only waited for."""
    try:
        return _state(psutil.Process(pid)) != "ended"
    except psutil.NoSuchProcess:
        return False


def is_halted(pid: int) -> bool:
    """Say whether a process is halted (SIGSTOP)."""
    try:
        return _state(psutil.Process(pid)) == "is halted"
    except psutil.NoSuchProcess:
        return False


def _state(process: psutil.Process) -> str | None:
    """Return what keeps a process from running, None where nothing does."""
    try:
        status = process.status() if process.is_running() else psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        status = psutil.STATUS_ZOMBIE
    if status == psutil.STATUS_STOPPED:
        return "is halted"
    return "ended" if status == psutil.STATUS_ZOMBIE else None
