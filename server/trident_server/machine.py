"""What a machine has that decides whether, and how fast, models can be served on it. Read once, judged elsewhere."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from trident_server.backends.cores import cpu_quota
from trident_server.compilation import find_toolchain
from trident_server.errors import CompilationError
from trident_server.supervisor import SHARED_MEMORY
from trident_server.wheel import Platform, find_tcmalloc

CPUINFO = Path("/proc/cpuinfo")
MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")
NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")
#: Processor flags that stand for fast bfloat16 products: AMX and AVX512-BF16.
FAST_BFLOAT16 = ("amx_bf16", "avx512_bf16")
#: The flag of int8 products that are added up in 32 bits, faster than bfloat16's; and the one that they need at all.
FAST_INT8, ANY_INT8 = "avx512_vnni", "avx2"


@dataclass(frozen=True)
class Machine:
    """The facts.

    Attributes:
        platform: what the embedded Triton needs to run at all.
        processor: its model's name.
        flags: of the processor.
        cores: that this process may run on.
        quota: cores' worth of time that a container's limit allows it; None where there is no limit.
        memory: free, in bytes; what is left of a container's limit where there is one.
        shared_memory: size of ``/dev/shm`` and what of it is free, in bytes; None where there is none.
        gpus: models of the NVIDIA GPUs whose driver is loaded.
        uncompilable: why backends cannot be compiled for Triton's process; empty where it can.
        tcmalloc: what the dynamic linker finds it by; None where there is none.
    """

    platform: Platform = field(default_factory=Platform)
    processor: str = field(default_factory=lambda: processor())
    flags: frozenset[str] = field(default_factory=lambda: processor_flags())
    cores: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    quota: float | None = field(default_factory=cpu_quota)
    memory: int = field(default_factory=lambda: free_memory())
    shared_memory: tuple[int, int] | None = field(default_factory=lambda: shared_memory())
    gpus: tuple[str, ...] = field(default_factory=lambda: gpus())
    uncompilable: str = field(default_factory=lambda: uncompilable())
    tcmalloc: str | None = field(default_factory=find_tcmalloc)

    @property
    def bfloat16(self) -> tuple[str, ...]:
        """Which of the processor's extensions multiply bfloat16 fast."""
        return tuple(flag for flag in FAST_BFLOAT16 if flag in self.flags)

    @property
    def fast(self) -> tuple[str, ...]:
        """Which of them multiply bfloat16 or int8 fast."""
        return tuple(flag for flag in (FAST_INT8, *FAST_BFLOAT16) if flag in self.flags)

    @property
    def dtype(self) -> str:
        """What ``make models`` computes in on this processor; as ``trident_training``'s precision ``auto``."""
        if self.bfloat16 and FAST_INT8 not in self.flags:
            return "bfloat16"
        return "int8" if ANY_INT8 in self.flags else "float32"


def processor(file: Path = CPUINFO) -> str:
    """Return the first processor's model, or that it is not known."""
    return _of_first_processor("model name", file) or "unknown processor"


def processor_flags(file: Path = CPUINFO) -> frozenset[str]:
    """Return the first processor's flags; none where they cannot be read."""
    return frozenset(_of_first_processor("flags", file).split())


def _of_first_processor(key: str, file: Path) -> str:
    lines = file.read_text().splitlines() if file.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def free_memory(limit: Path = MEMORY_LIMIT) -> int:
    """Return bytes of memory that are free, within a container's limit if there is one."""
    free = int(psutil.virtual_memory().available)
    text = limit.read_text().strip() if limit.is_file() else "max"
    if not text.isdigit():
        return free
    used = limit.with_name("memory.current")
    return min(free, int(text) - (int(used.read_text()) if used.is_file() else 0))


def shared_memory(folder: Path = SHARED_MEMORY) -> tuple[int, int] | None:
    """Return size and free bytes of the shared memory's file system; None where there is none."""
    if not folder.is_dir():
        return None
    facts = os.statvfs(folder)
    return facts.f_blocks * facts.f_frsize, facts.f_bavail * facts.f_frsize


def gpus(folder: Path = NVIDIA_GPUS) -> tuple[str, ...]:
    """Return the models of NVIDIA's GPUs; none where the driver is not loaded."""
    found = []
    for file in sorted(folder.glob("*/information")):
        model = [line.partition(":")[2].strip() for line in file.read_text().splitlines() if line.startswith("Model")]
        found += model or ["a GPU"]
    return tuple(found)


def uncompilable() -> str:
    """Return what is missing to compile backends for Triton's process; nothing where all is there."""
    try:
        find_toolchain()
    except CompilationError as error:
        return str(error)
    return ""
