"""The memory of a tree of processes: what would be free again without it."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable

import psutil


def tree(pids: Iterable[int]) -> list[psutil.Process]:
    """Return the processes and all that they have started; those that are gone are left out."""
    found: dict[int, psutil.Process] = {}
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            found |= {each.pid: each for each in (process, *process.children(recursive=True))}
    return list(found.values())


def memory(pids: Iterable[int]) -> int:
    """Return the bytes that the trees of these processes hold.

    Pages of a file or of shared memory that several of them map count once, and count in full although processes of
    other contenders may map the same library: each contender is charged as if it were alone on the machine.
    """
    private = 0
    mapped: dict[str, int] = defaultdict(int)
    for process in tree(pids):
        with contextlib.suppress(psutil.Error):
            for part in process.memory_maps(grouped=True):
                if part.path.startswith("/"):
                    mapped[part.path] = max(mapped[part.path], part.rss)
                else:
                    private += part.pss
    return private + sum(mapped.values())


def pause(pids: Iterable[int]) -> None:
    """Stop the trees where they are, so that whoever is not measured takes nothing from whoever is.

    Parents first and, in :func:`resume`, last: one that finds its child asleep may take it for dead.
    """
    _signal(tree(pids), "suspend")


def resume(pids: Iterable[int]) -> None:
    """Let them go on."""
    _signal(reversed(tree(pids)), "resume")


def _signal(processes: Iterable[psutil.Process], method: str) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            getattr(process, method)()
