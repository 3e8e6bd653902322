"""What this test session started, and nothing of anybody else's: its processes, its Tritons, its shared memory.

Every process of a session inherits a variable that names the session. A thread looks for new ones, so that shared
memory whose owner is dead can still be told from what another session, or a server, of this machine has left.
"""

from __future__ import annotations

import os
import re
import threading
import time
import uuid
from pathlib import Path

from trident_server.supervised import PREFIX
from trident_server.supervisor import SHARED_MEMORY

VARIABLE = "TRIDENT_TESTS_OF"
SECONDS_BETWEEN_LOOKS = 0.1
TRITON = "tritonserver"
# The parent of the kernel's own threads, and its name; in a container there is none.
KERNEL = (2, "kthreadd")
# Python's own, one for each process that made shared memory, which it outlives by a moment.
HELPER = re.compile(rb"\bfrom (multiprocessing|joblib\.externals\.loky\.backend)\.resource_tracker import ")


class OwnProcesses:
    """Follows the processes that inherit this session's name.

    Attributes:
        tritons: process ids of every tritonserver so far.
    """

    def __init__(self) -> None:
        # Several workers may be one session, but each looks after what it started itself.
        name = uuid.uuid4().hex
        os.environ[VARIABLE] = name
        self._mark = f"{VARIABLE}={name}".encode()
        self._ours = {os.getpid()}
        self._strangers: set[int] = set()
        self._unnamed: set[int] = set()
        self.tritons: set[int] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="own processes", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join()

    def left(self) -> list[str]:
        """Return processes and shared-memory regions of this session that are still there, but this process."""
        commands = {pid: _read(pid, "cmdline").replace(b"\0", b" ") for pid in self._look() if pid != os.getpid()}
        processes = [
            f"process {pid}: {command.decode(errors='replace')[:200]}"
            for pid, command in commands.items()
            if not HELPER.search(command)
        ]
        return processes + [str(region) for region in self.regions()]

    def regions(self, kind: str = "") -> list[Path]:
        """Return the shared-memory regions of this session's processes, dead ones too; ``client-`` for clients' alone.

        Servers' regions and clients' are named alike: whose process ids, the owner's, and a name.
        """
        named = re.compile(rf"{PREFIX}-{kind or '(?:client-)?'}\d+-(\d+)-.*")
        found = [(region, named.fullmatch(region.name)) for region in SHARED_MEMORY.glob(f"{PREFIX}-*")]
        return [region for region, name in found if name is not None and int(name[1]) in self._ours]

    def _follow(self) -> None:
        while not self._stop.wait(SECONDS_BETWEEN_LOOKS):
            with self._lock:
                self._note_new()

    def _look(self) -> list[int]:
        """Note new processes and return this session's living ones."""
        with self._lock:
            living = self._note_new()
        return [pid for pid in living & self._ours if self._mark in _read(pid, "environ")]

    def _note_new(self) -> set[int]:
        """Note new processes and return all of the machine."""
        living = {int(name) for name in os.listdir("/proc") if name.isdigit()}
        self._strangers &= living
        self._unnamed &= living
        for pid in living - self._strangers - self._ours:
            # Empty while it starts, and of a zombie.
            if environment := _read(pid, "environ"):
                if self._mark in environment:
                    self._ours.add(pid)
                    self._unnamed.add(pid)
                elif not _is_copy(pid):
                    self._strangers.add(pid)
            elif (parent := _parent(pid)) == KERNEL[0] and _name(parent) == KERNEL[1]:
                # It has none for good, and there may be many: each look would read them all.
                self._strangers.add(pid)
        # Between fork and exec, a child still has its parent's name: a Python model's process that of the server that
        # forked it. It is no server, also not once that one is dead.
        self._unnamed -= {pid for pid in self._unnamed if _name(_parent(pid)) == TRITON}
        self.tritons |= {pid for pid in self._unnamed if _name(pid) == TRITON}
        self._unnamed -= self.tritons
        return living


def wait_until_nothing_is_left(own: OwnProcesses, seconds: float) -> list[str]:
    """Give processes time to end, and return what is left of them and of their shared memory."""
    deadline = time.monotonic() + seconds
    while (left := own.left()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _is_copy(pid: int) -> bool:
    """Whether it is a child of this process without a program of its own yet.

    Its environment is that with which this process began, before the session had its name.
    """
    return _parent(pid) == os.getpid() and _read(pid, "cmdline") == _read(os.getpid(), "cmdline")


def _name(pid: int) -> str:
    return _read(pid, "comm").decode(errors="replace").strip()


def _parent(pid: int) -> int:
    # The name in parentheses may hold anything, parentheses included.
    fields = _read(pid, "stat").decode(errors="replace").rpartition(")")[2].split()
    return int(fields[1]) if fields else 0
