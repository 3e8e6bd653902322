"""The dtype an encoder computes in, chosen for the processor at hand."""

from __future__ import annotations

from pathlib import Path

DTYPES = ("float32", "bfloat16", "float16")
BFLOAT16_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})


def choose_dtype(wanted: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return ``wanted``, or for ``auto`` the fastest dtype of this processor.

    bfloat16 where the processor multiplies it in hardware (AMX or AVX512-BF16), float32 elsewhere; float16 is for GPUs
    and is never chosen for a processor.

    Raises:
        ValueError: ``wanted`` is neither ``auto`` nor one of :data:`DTYPES`.
    """
    if wanted in DTYPES:
        return wanted
    if wanted != "auto":
        raise ValueError(f"dtype '{wanted}' is not known; choose auto, {', '.join(DTYPES)}")
    flags = cpuinfo.read_text().split() if cpuinfo.exists() else []
    return "bfloat16" if BFLOAT16_FLAGS.intersection(flags) else "float32"
