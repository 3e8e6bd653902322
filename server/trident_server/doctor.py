"""``trident-serve doctor``, and serving's part of ``trident doctor``. Changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError
from trident_client.doctor import Finding, State

from trident_server import pidfile, shipped
from trident_server.assembly import check_path
from trident_server.errors import PortInUseError, ServerError
from trident_server.machine import Machine
from trident_server.ports import check_free
from trident_server.repository import check_repository
from trident_server.settings import ServerSettings, explain
from trident_server.wheel import OLDEST_GLIBC, find_embedded_triton

MIB = 1 << 20
GIB = 1 << 30
#: Free memory below which a start is likely to fail, and with which a passage of 100,000 characters (1.3 GB) has room.
LEAST_MEMORY, ENOUGH_MEMORY = 2 * GIB, 4 * GIB
#: The same of shared memory: each Python model takes 1 MiB at its start and more for long passages.
LEAST_SHARED_MEMORY, ENOUGH_SHARED_MEMORY = 64 * MIB, 512 * MIB


def for_environment() -> Iterator[Finding]:
    """Yield what was found for the settings of the environment; ``trident doctor`` calls this."""
    try:
        settings = ServerSettings()
    except ValidationError as error:
        yield Finding("settings", State.MISSING, "cannot be read", explain(error))
        return
    yield from examine(settings, Machine())


def examine(settings: ServerSettings, machine: Machine, site_packages: Path | None = None) -> Iterator[Finding]:
    """Yield what was found, one thing after the other.

    Args:
        settings: what would be served, and where.
        machine: the machine's facts.
        site_packages: where the wheel of Triton is looked for; beside the running Python when not given.
    """
    yield _python(machine)
    yield _glibc(machine)
    yield _triton(machine, site_packages)
    yield _backend(machine, settings)
    yield _processor(machine)
    yield _allocator(machine)
    yield _memory(machine)
    yield _shared_memory(machine)
    yield from _ports(settings)
    yield _paths(settings)
    yield from _models(settings, machine)
    yield _gpu(machine)


def _python(machine: Machine) -> Finding:
    found = machine.platform.python
    if found == "3.11":
        return Finding("Python", State.OK, found)
    how = "install it with python3.11 -m pip" if shipped.PACKED.is_dir() else "make serve PYTHON=/path/to/python3.11"
    return Finding("Python", State.MISSING, found, f"Trident needs Python 3.11: {how}.")


def _glibc(machine: Machine) -> Finding:
    found, oldest = machine.platform.glibc, ".".join(map(str, OLDEST_GLIBC))
    numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    if numbers >= OLDEST_GLIBC:
        return Finding("glibc", State.OK, found)
    advice = f"The embedded Triton needs glibc {oldest} or newer (Debian 12, Ubuntu 22.04): serve in the container."
    return Finding("glibc", State.MISSING, found or "none", advice)


def _triton(machine: Machine, site_packages: Path | None) -> Finding:
    try:
        triton = find_embedded_triton(site_packages, machine.platform)
    except ServerError as error:
        return Finding("Triton", State.MISSING, "cannot run here", str(error))
    return Finding("Triton", State.OK, str(triton.binary))


def _backend(machine: Machine, settings: ServerSettings) -> Finding:
    if settings.isolated:
        return Finding("models run", State.SLOW, "in processes of their own", "Without --isolated they answer sooner.")
    if machine.uncompilable:
        advice = "In Triton's process they answer sooner, once what is missing is there."
        return Finding("models run", State.SLOW, f"in processes of their own: {machine.uncompilable}", advice)
    return Finding("models run", State.OK, "in Triton's process")


def _processor(machine: Machine) -> Finding:
    cores = f"{machine.cores} core{'s' if machine.cores != 1 else ''}"
    if machine.quota is not None and machine.quota < machine.cores:
        cores += f", of which a limit on processor time allows {machine.quota:g}"
    if machine.fast:
        return Finding("processor", State.OK, f"{cores}, {machine.dtype} in hardware ({', '.join(machine.fast)})")
    advice = (
        f"Models compute in {machine.dtype}, which is slower here: take a processor with AVX512-VNNI (Intel's Cascade "
        "Lake or AMD's Zen 4, or newer), or a GPU in the container."
    )
    return Finding("processor", State.SLOW, f"{cores}, none of AVX512-VNNI, AVX512-BF16 and AMX", advice)


def _allocator(machine: Machine) -> Finding:
    if machine.tcmalloc:
        return Finding("allocator", State.OK, f"tcmalloc, {machine.tcmalloc}")
    advice = "With tcmalloc a lone request is answered a tenth sooner: apt install libtcmalloc-minimal4."
    return Finding("allocator", State.SLOW, "glibc's", advice)


def _memory(machine: Machine) -> Finding:
    return _sized(
        "memory",
        machine.memory,
        f"{machine.memory / GIB:.1f} GiB free",
        (LEAST_MEMORY, ENOUGH_MEMORY),
        f"Free {ENOUGH_MEMORY // GIB} GiB, or raise the container's limit; very long passages need most.",
    )


def _shared_memory(machine: Machine) -> Finding:
    advice = (
        f"Python models hand over tensors in /dev/shm and need {ENOUGH_SHARED_MEMORY // MIB} MiB with long passages: "
        "mount -o remount,size=1g /dev/shm, or start the container with --shm-size=1g."
    )
    if machine.shared_memory is None:
        return Finding("/dev/shm", State.MISSING, "not there", advice)
    size, free = machine.shared_memory
    found = f"{free // MIB} of {size // MIB} MiB free"
    return _sized("/dev/shm", free, found, (LEAST_SHARED_MEMORY, ENOUGH_SHARED_MEMORY), advice)


def _sized(subject: str, free: int, found: str, bounds: tuple[int, int], advice: str) -> Finding:
    least, enough = bounds
    if free >= enough:
        return Finding(subject, State.OK, found)
    return Finding(subject, State.SLOW if free >= least else State.MISSING, found, advice)


def _ports(settings: ServerSettings) -> Iterator[Finding]:
    running = pidfile.running(settings.cache_dir)
    for name, port in settings.ports.items():
        host = settings.host if name == "port" else settings.triton_host
        subject = f"port {port}"
        try:
            check_free(host, {name: port})
        except ServerError as error:
            if running is not None and isinstance(error, PortInUseError):
                yield Finding(subject, State.OK, f"in use: trident-serve (process {running}) runs")
            else:
                yield Finding(subject, State.MISSING, f"not free on {host}", str(error))
        else:
            yield Finding(subject, State.OK, f"free on {host}")


def _paths(settings: ServerSettings) -> Finding:
    try:
        check_path(settings.repository.resolve(), "repository")
        check_path(settings.cache_dir.resolve(), "cache-dir")
    except ServerError as error:
        return Finding("paths", State.MISSING, "not such that Triton can work in them", str(error))
    return Finding("paths", State.OK, f"{settings.repository}, {settings.cache_dir}")


def _models(settings: ServerSettings, machine: Machine) -> Iterator[Finding]:
    try:
        check_repository(settings.repository, settings.config_name, settings.sets)
    except ServerError as error:
        yield Finding("models", State.MISSING, "cannot be served", str(error))
        return
    dtypes = {dtype for file in settings.repository.glob("*/1/export.json") if (dtype := _dtype(file))}
    found = f"built, in {', '.join(sorted(dtypes)) or 'a dtype that is not told'}"
    # One that int8 changes too much is in bfloat16 or float32 beside the others.
    expected = {machine.dtype, "float32", *(["bfloat16"] if machine.bfloat16 else [])}
    if dtypes - expected or (dtypes and machine.dtype not in dtypes):
        advice = f"This processor is faster with {machine.dtype}. {shipped.how_to_build(settings.repository)}"
        yield Finding("models", State.SLOW, found, advice)
    else:
        yield Finding("models", State.OK, found)


def _dtype(report: Path) -> str:
    try:
        return str(json.loads(report.read_text()).get("dtype", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def _gpu(machine: Machine) -> Finding:
    if not machine.gpus:
        return Finding("GPU", State.OK, "none, and none is needed")
    advice = "The embedded Triton leaves it idle: see docker/README.md for the container with --profile gpu."
    return Finding("GPU", State.SLOW, ", ".join(machine.gpus), advice)
