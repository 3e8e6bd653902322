"""Training's part of ``trident doctor``: what is missing or slow on this machine, and what to do about it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from trident_client.doctor import Finding, State
from trident_server.backends.cores import cpu_quota
from trident_server.machine import free_memory, gpus

from trident_training.checkpoints.bundled import MADE
from trident_training.checkpoints.wheels import CacheSettings, identity

GIB = 1 << 30
#: Free memory without which not even ``small`` is trained, and that ``base`` takes: its 109 M weights, their gradients
#: and Adam's two moments are 1.7 GB in float32, beside torch, the data and a batch's activations.
LEAST_MEMORY, ENOUGH_MEMORY = 1 * GIB, 4 * GIB
#: Free disk that the epochs of a run of ``base`` take, with the optimizer's state.
ENOUGH_DISK = 5 * GIB


@dataclass(frozen=True)
class Machine:
    """The facts.

    Attributes:
        cores: that this process may run on.
        quota: cores' worth of time that a container's limit allows it; None where there is no limit.
        memory: free, in bytes.
        disk: free in the folder that this runs in, in bytes.
        gpus: models of the NVIDIA GPUs whose driver is loaded.
        torch: its version, and whether it finds a GPU that it can compute on.
    """

    cores: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    quota: float | None = field(default_factory=cpu_quota)
    memory: int = field(default_factory=lambda: free_memory())
    disk: int = field(default_factory=lambda: shutil.disk_usage(Path.cwd()).free)
    gpus: tuple[str, ...] = field(default_factory=lambda: gpus())
    torch: tuple[str, bool] = field(default_factory=lambda: _torch())


def examine(machine: Machine | None = None, settings: CacheSettings | None = None) -> Iterator[Finding]:
    """Yield what was found, one thing after the other; ``trident doctor`` calls this."""
    machine = machine or Machine()
    yield _gpu(machine)
    yield _processor(machine)
    yield _memory(machine)
    yield _disk(machine)
    yield _encoders(settings or CacheSettings())


def _torch() -> tuple[str, bool]:
    # Takes seconds, and is nothing to do before it is asked for.
    import torch

    return torch.__version__, torch.cuda.is_available()


def _gpu(machine: Machine) -> Finding:
    version, usable = machine.torch
    if usable:
        return Finding("GPU", State.OK, f"{', '.join(machine.gpus) or 'there'}, and torch {version} computes on it")
    if machine.gpus:
        number = version.partition("+")[0]
        advice = f"pip install --force-reinstall torch=={number} --index-url <address of PyTorch's CUDA wheels>"
        return Finding("GPU", State.SLOW, f"{', '.join(machine.gpus)}, which torch {version} does not find", advice)
    advice = "`small` takes minutes to an hour or two; for `base`, freeze most of it with --lora-rank 8."
    return Finding("GPU", State.SLOW, "none", advice)


def _processor(machine: Machine) -> Finding:
    found = f"{machine.cores} core{'s' if machine.cores != 1 else ''}"
    if machine.quota is not None and machine.quota < machine.cores:
        threads = max(1, int(machine.quota))
        found += f", of which a limit on processor time allows {machine.quota:g}: trident-train computes on {threads}"
    return Finding("processor", State.OK, found)


def _memory(machine: Machine) -> Finding:
    found = f"{machine.memory / GIB:.1f} GiB free"
    if machine.memory >= ENOUGH_MEMORY:
        return Finding("memory", State.OK, found)
    state = State.SLOW if machine.memory >= LEAST_MEMORY else State.MISSING
    return Finding("memory", state, found, f"Free {ENOUGH_MEMORY // GIB} GiB, or train `small` in batches of 8.")


def _disk(machine: Machine) -> Finding:
    found = f"{machine.disk / GIB:.1f} GiB free in {Path.cwd()}"
    if machine.disk >= ENOUGH_DISK:
        return Finding("disk", State.OK, found)
    return Finding(
        "disk", State.MISSING, found, f"Free {ENOUGH_DISK // GIB} GiB, or name another folder with --output."
    )


def _encoders(settings: CacheSettings) -> Finding:
    folder = settings.cache_dir.expanduser().resolve()
    there = [
        "small",
        *(name for name, source in MADE.items() if (folder / "encoders" / identity(name, source)).is_dir()),
    ]
    found = f"{', '.join(there)}; others are fetched into {folder} when they are named"
    nearest = next(each for each in (folder, *folder.parents) if each.exists())
    if not os.access(nearest, os.W_OK):
        advice = "TRIDENT_CACHE_DIR=<folder that can be written>; `small` and local checkpoints need none."
        return Finding("encoders", State.SLOW, f"{', '.join(there)}; {folder} cannot be written", advice)
    return Finding("encoders", State.OK, found)
