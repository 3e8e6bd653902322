"""The machine's name tag: a figure without it means nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil
from trident_server.machine import MEMORY_LIMIT, Machine


@dataclass(frozen=True)
class NameTag:
    """What figures were measured on.

    Attributes:
        processor: its model's name.
        cores: that this process may use.
        bfloat16: the processor's extensions that multiply it fast.
    """

    processor: str
    cores: int
    bfloat16: tuple[str, ...]

    def __str__(self) -> str:
        extensions = f", {' and '.join(self.bfloat16)}" if self.bfloat16 else ""
        return f"{self.processor}, {self.cores} core{'s' * (self.cores != 1)}{extensions}"


def name_tag(machine: Machine) -> NameTag:
    """Return the name tag of a machine."""
    return NameTag(machine.processor, machine.cores, machine.bfloat16)


def total_memory(limit: Path = MEMORY_LIMIT) -> int:
    """Return the machine's memory in bytes, or a container's limit; unlike what is free, the same every time."""
    told = limit.read_text().strip() if limit.is_file() else "max"
    total = int(psutil.virtual_memory().total)
    return min(total, int(told)) if told.isdigit() else total
