"""How many cores this process may keep busy: those it may run on, within a container's quota of processor time."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Return the number of threads that can compute at once, at least 1.

    More than a quota allows would all be halted together once they have used it up.
    """
    cores, quota = len(os.sched_getaffinity(0)), cpu_quota()
    return cores if quota is None else max(1, min(cores, int(quota)))


def cpu_quota(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> float | None:
    """Return the cores' worth of time that the control groups of this process allow it; None where none limits it.

    Source: the kernel's ``cgroup-v2`` page on ``cpu.max``, and its page on ``cpu.cfs_quota_us`` for version 1.
    """
    found = []
    for folder in _groups(cgroups, membership):
        with contextlib.suppress(OSError, ValueError, IndexError, ZeroDivisionError):
            if (file := folder / "cpu.max").is_file():
                quota, period = file.read_text().split()
            else:
                quota = (folder / "cpu.cfs_quota_us").read_text().strip()
                period = (folder / "cpu.cfs_period_us").read_text().strip()
            if quota not in {"max", "-1"}:
                found.append(int(quota) / int(period))
    return min(found, default=None)


def _groups(cgroups: Path, membership: Path) -> list[Path]:
    """Return the folders of this process's groups and of all above them: each may limit it."""
    folders = [cgroups, cgroups / "cpu"]
    with contextlib.suppress(OSError, ValueError):
        for line in membership.read_text().splitlines():
            number, controllers, path = line.split(":", 2)
            root = cgroups if number == "0" else cgroups / "cpu"
            if number == "0" or "cpu" in controllers.split(","):
                inner = root / path.lstrip("/")
                folders += [inner, *(each for each in inner.parents if root in each.parents)]
    return folders
