"""The machine and the versions: a figure without them means nothing."""

from __future__ import annotations

import contextlib
import hashlib
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
from trident_server.machine import MEMORY_LIMIT, Machine

PACKAGES = ("trident", "nvidia-pytriton", "torch", "tokenizers", "tritonclient")


def name_tag(machine: Machine | None = None) -> str:
    """Return a machine in a line: processor, cores, and its extensions that multiply bfloat16 fast."""
    found = machine or Machine()
    extensions = f", {' and '.join(found.bfloat16)}" if found.bfloat16 else ""
    return f"{found.processor}, {found.cores} core{'s' * (found.cores != 1)}{extensions}"


def machine_facts() -> dict[str, str]:
    """Return facts about this machine by what they are called."""
    machine = Machine()
    facts = {
        "processor": machine.processor,
        "cores": str(machine.cores),
        "bfloat16 in hardware": ", ".join(machine.bfloat16) or "no",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, glibc {platform.libc_ver()[1]}",
    }
    return facts | ({"GPUs": ", ".join(machine.gpus)} if machine.gpus else {})


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that serve and that make load (perf_analyzer: tritonclient)."""
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def total_memory(limit: Path = MEMORY_LIMIT) -> int:
    """Return the machine's memory in bytes, or a container's limit; unlike what is free, the same every time."""
    told = limit.read_text().strip() if limit.is_file() else "max"
    total = int(psutil.virtual_memory().total)
    return min(total, int(told)) if told.isdigit() else total


def model_files(repository: Path) -> str:
    """Return a digest of which model files a repository has: another export is another thing to measure."""
    files = sorted(path for path in repository.glob("*/1/*") if path.is_file())
    told = [f"{file.relative_to(repository)} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]
