"""The machine and the versions: a figure without them means nothing."""

from __future__ import annotations

import contextlib
import hashlib
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
from trident_server.machine import MEMORY_LIMIT, Machine

PACKAGES = ("trident-nlp", "nvidia-pytriton", "torch", "tokenizers", "tritonclient")


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


def total_memory(limit_file: Path = MEMORY_LIMIT) -> int:
    """Return the machine's memory in bytes, or a container's limit; unlike what is free, the same every time."""
    limit = limit_file.read_text().strip() if limit_file.is_file() else "max"
    total = int(psutil.virtual_memory().total)
    return min(total, int(limit)) if limit.isdigit() else total


def model_files(repository: Path, models: Iterable[str] = ("*",)) -> str:
    """Return a digest of the files and configurations of a repository's models, by their names or patterns."""
    files = sorted(path for model in models for path in repository.glob(f"{model}/1/*") if path.is_file())
    described = [f"{file.relative_to(repository)} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]
    configurations = sorted(file.read_text("utf-8") for model in models for file in repository.glob(f"{model}/*.pbtxt"))
    return hashlib.sha256("\n".join([*described, *configurations]).encode()).hexdigest()[:16]
