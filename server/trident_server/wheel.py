"""Finds the tritonserver that the ``nvidia-pytriton`` wheel carries, and says plainly where it cannot run.

Only the wheel's files are used; its decorator API is not imported.
"""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import platform
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from trident_server.errors import UnsupportedPlatformError

OLDEST_GLIBC = (2, 35)
CONTAINER_ROUTE = (
    "serve the same model_repository in NVIDIA's container instead: `make images-gpu`, with Docker, builds it, and "
    "docker run --shm-size=1g -p 8010:8000 -p 8011:8001 -p 8012:8002 trident-triton starts it (docker/README.md)"
)


@dataclass(frozen=True)
class EmbeddedTriton:
    """Paths of one embedded tritonserver, all absolute and existing."""

    binary: Path
    libraries: Path
    python_backend: Path
    python_stub: Path
    caches: Path


@dataclass(frozen=True)
class Platform:
    """The facts about this machine that decide whether the wheel can run."""

    system: str = field(default_factory=platform.system)
    machine: str = field(default_factory=platform.machine)
    glibc: str = field(default_factory=lambda: platform.libc_ver()[1])
    python: str = field(default_factory=lambda: f"{sys.version_info.major}.{sys.version_info.minor}")


def find_embedded_triton(site_packages: Path | None = None, host: Platform | None = None) -> EmbeddedTriton:
    """Locate binary, libraries, Python backend and stub in the installed wheel.

    Args:
        site_packages: the folder that holds ``pytriton/``; looked up from the running Python when not given.
        host: the facts to judge by; this machine's when not given.

    Raises:
        UnsupportedPlatformError: the wheel is not installed or cannot run here; one sentence, with the way out.
    """
    host = host or Platform()
    if host.system != "Linux" or host.machine != "x86_64":
        raise _unsupported(f"the embedded Triton runs on Linux x86_64 and this is {host.system} {host.machine}")
    if _version(host.glibc) < OLDEST_GLIBC:
        oldest = ".".join(map(str, OLDEST_GLIBC))
        found = f"glibc {host.glibc}" if host.glibc else "no glibc"
        raise _unsupported(f"the embedded Triton needs glibc {oldest} or newer and this machine has {found}")
    site_packages = site_packages or _site_packages()
    root = site_packages / "pytriton" / "tritonserver"
    stubs = root / "python_backend_stubs"
    stub = stubs / host.python / "triton_python_backend_stub"
    if not stub.is_file():
        have = ", ".join(sorted((each.name for each in stubs.glob("*")), key=_version)) or "none"
        raise _unsupported(f"the embedded Triton has no stub for Python {host.python}, only for {have}")
    triton = EmbeddedTriton(
        binary=root / "bin" / "tritonserver",
        libraries=site_packages / "nvidia_pytriton.libs",
        python_backend=root / "backends" / "python",
        python_stub=stub,
        caches=root / "caches",
    )
    missing = [
        str(path)
        for path in (triton.binary, triton.libraries, triton.python_backend, triton.caches)
        if not path.exists()
    ]
    if missing:
        raise _unsupported(f"the installed nvidia-pytriton lacks {', '.join(missing)}")
    return triton


def _site_packages() -> Path:
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise _unsupported("the package nvidia-pytriton, which carries the embedded Triton, is not installed")
    return Path(spec.origin).parent.parent


def _version(text: str) -> tuple[int, ...]:
    """Leading numbers of a version; musl reports none for glibc, which is older than any."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


#: What the C library and OpenMP do by default and costs a model most. glibc gives a large tensor's memory back at once
#: and fetches it anew, page by page, a thousand pages a batch. OpenMP's threads spin while they wait, which takes the
#: cores from tokenizers and clients on a small machine; not spinning at all takes half its speed from a small batch,
#: and without the wait policy that is what they do as soon as several models of one process have threads.
TUNING = {
    "MALLOC_MMAP_THRESHOLD_": str(256 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(256 * 2**20),
    "GOMP_SPINCOUNT": "1000",
    "OMP_WAIT_POLICY": "active",
}


def find_tcmalloc() -> str | None:
    """Return the path of the tcmalloc beside the packages, else the name of the system's; None where there is neither.

    What a tensor costs, which is aligned memory of one thread that another may give back, it does sooner than glibc.
    """
    beside = Path(sys.prefix) / "lib" / "libtcmalloc_minimal.so.4"
    # In LD_PRELOAD, spaces and colons end a path.
    if beside.is_file() and not set(" :") & set(str(beside)):
        return str(beside)
    return ctypes.util.find_library("tcmalloc_minimal")


def allocator() -> dict[str, str]:
    """Return the variables that give a process tcmalloc, where there is one, and glibc settings that suit tensors.

    What the operator has set of them is not among them.
    """
    settings = {name: value for name, value in TUNING.items() if name.startswith("MALLOC_")}
    if tcmalloc := find_tcmalloc():
        settings["LD_PRELOAD"] = tcmalloc
    return {name: value for name, value in settings.items() if name not in os.environ}


def environment(triton: EmbeddedTriton) -> dict[str, str]:
    """Environment of the embedded server: its libraries, and this Python first so that stubs find packages.

    What the operator has set of :data:`TUNING`, and ``LD_PRELOAD``, stays as it is.
    """
    libraries = [str(triton.libraries), os.environ.get("LD_LIBRARY_PATH", "")]
    path = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    return {
        **TUNING,
        **allocator(),
        **os.environ,
        "LD_LIBRARY_PATH": ":".join(filter(None, libraries)),
        "PATH": ":".join(filter(None, path)),
    }


def _unsupported(reason: str) -> UnsupportedPlatformError:
    return UnsupportedPlatformError(f"{reason[0].upper()}{reason[1:]}; {CONTAINER_ROUTE}")
