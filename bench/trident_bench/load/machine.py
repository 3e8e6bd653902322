"""What was measured on, and which versions of what."""

from __future__ import annotations

import contextlib
import hashlib
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
from trident_server.machine import Machine

from trident_bench.load.facade_load import PINNED

PACKAGES = ("trident", "nvidia-pytriton", "torch", "tokenizers")
PERF_ANALYZER = "tritonclient"


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
    if machine.gpus:
        facts["GPUs"] = ", ".join(machine.gpus)
    return facts


def versions(triton: str) -> dict[str, str]:
    """Return the versions of the server, of the packages that serve, and of the load generators."""
    return {"Triton": triton, "Python": platform.python_version()} | _versions(PACKAGES) | generator_versions()


def generator_versions() -> dict[str, str]:
    """Return the versions of what makes load."""
    locust = next(line for line in PINNED.read_text().splitlines() if line.startswith("locust=="))
    analyzer = _versions((PERF_ANALYZER,)).get(PERF_ANALYZER, "unknown")
    return {"perf_analyzer (tritonclient)": analyzer, "Locust": locust.partition("==")[2]}


def model_files(repository: Path) -> str:
    """Return a digest of which model files a repository has: another export is another thing to measure."""
    files = sorted(path for path in repository.glob("*/1/*") if path.is_file())
    told = [f"{file.relative_to(repository)} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {}
    for name in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
