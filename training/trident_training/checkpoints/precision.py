"""Which floating-point type to compute in. Free of torch, so that asking costs nothing."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
#: Processor flags that stand for fast bfloat16 products: AMX, AVX512-BF16, and ARM's extension.
FAST_BFLOAT16 = {"amx_bf16", "avx512_bf16", "bf16"}


class Precision(StrEnum):
    """The dtype an export computes in."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"


def resolve(precision: Precision, cpuinfo: Path = CPUINFO) -> Precision:
    """Return the precision itself, or for ``auto`` bfloat16 where this processor multiplies it fast, else float32."""
    if precision is not Precision.AUTO:
        return precision
    return Precision.BFLOAT16 if FAST_BFLOAT16 & _flags(cpuinfo) else Precision.FLOAT32


def _flags(cpuinfo: Path) -> set[str]:
    if not cpuinfo.is_file():
        return set()
    lines = (line.partition(":") for line in cpuinfo.read_text().splitlines())
    return {flag for key, _, value in lines if key.strip() in {"flags", "Features"} for flag in value.split()}
