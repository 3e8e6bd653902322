"""Which floating-point type to compute in. Free of torch, so that asking costs nothing."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
#: Processor flags that stand for fast bfloat16 products: AMX, AVX512-BF16, and ARM's extension.
FAST_BFLOAT16 = {"amx_bf16", "avx512_bf16", "bf16"}
#: The flag that int8 products need.
FAST_INT8 = {"avx2"}


class Precision(StrEnum):
    """The dtype an export computes in; ``auto`` and ``portable`` are chosen by the processor."""

    AUTO = "auto"
    PORTABLE = "portable"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    INT8 = "int8"


def resolve(precision: Precision, cpuinfo: Path = CPUINFO) -> Precision:
    """Return the precision itself, or what this processor is fast at.

    ``auto`` is bfloat16 where it is multiplied in hardware, else int8 on x86, else float32; ``portable`` is the same
    without int8, which no GPU computes.
    """
    if precision not in {Precision.AUTO, Precision.PORTABLE}:
        return precision
    flags = processor_flags(cpuinfo)
    if flags & FAST_BFLOAT16:
        return Precision.BFLOAT16
    return Precision.INT8 if precision is Precision.AUTO and flags & FAST_INT8 else Precision.FLOAT32


def processor_flags(cpuinfo: Path = CPUINFO) -> set[str]:
    """Return the features that the kernel names; none where it does not say."""
    if not cpuinfo.is_file():
        return set()
    lines = (line.partition(":") for line in cpuinfo.read_text().splitlines())
    return {flag for key, _, value in lines if key.strip() in {"flags", "Features"} for flag in value.split()}
