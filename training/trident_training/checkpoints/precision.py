"""Which floating-point type to compute in. Free of torch, so that asking costs nothing."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
#: Processor flags that stand for fast bfloat16 products: AMX, AVX512-BF16, and ARM's extension.
FAST_BFLOAT16 = {"amx_bf16", "avx512_bf16", "bf16"}
#: The flag of int8 products that are added up in 32 bits at once: faster than bfloat16's. AVX-VNNI alone, of processors
#: without AVX512, is not used by libtorch.
FAST_INT8 = {"avx512_vnni"}
#: The flag that int8 products need at all.
ANY_INT8 = {"avx2"}


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

    ``auto`` is int8 where a processor adds its products up in 32 bits, else bfloat16 where it is multiplied in
    hardware, else int8 on x86, else float32; ``portable`` is the same without int8, which no GPU computes.
    """
    return candidates(precision, cpuinfo)[0]


def candidates(precision: Precision, cpuinfo: Path = CPUINFO) -> list[Precision]:
    """Return what to compute in, and what is taken in its place where it answers too differently; the best first."""
    if precision not in {Precision.AUTO, Precision.PORTABLE}:
        return [precision]
    flags = processor_flags(cpuinfo)
    half = [Precision.BFLOAT16] if flags & FAST_BFLOAT16 else []
    if precision is Precision.PORTABLE or not flags & ANY_INT8:
        return [*half, Precision.FLOAT32]
    order = [Precision.INT8, *half] if flags & FAST_INT8 else [*half, Precision.INT8]
    return [*order, Precision.FLOAT32]


def weight_steps(cpuinfo: Path = CPUINFO) -> int:
    """Return the largest whole number that a weight becomes in int8.

    It takes 7 bits of 8 where two products are added up in 16 bits first, which more would overflow.
    """
    return 127 if processor_flags(cpuinfo) & FAST_INT8 else 63


def processor_flags(cpuinfo: Path = CPUINFO) -> set[str]:
    """Return the features that the kernel names; none where it does not say."""
    if not cpuinfo.is_file():
        return set()
    lines = (line.partition(":") for line in cpuinfo.read_text().splitlines())
    return {flag for key, _, value in lines if key.strip() in {"flags", "Features"} for flag in value.split()}
