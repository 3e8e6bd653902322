"""Compiles what lets backends run inside Triton's process, where this machine can: about a second each, once.

A C compiler, Python's header and Python's shared library are all it takes; Triton's interface is declared beside the
source. Where one of them is missing, each model is served from a process of its own, which is slower.
"""

from __future__ import annotations

import importlib.util
import logging
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from trident_server.backends import PROCESSORS
from trident_server.errors import CompilationError

SOURCES = Path(__file__).resolve().parent / "backends"
SECONDS = 120.0
KERNELS = ("kernels.c", "attention.c", "norms.c", "products.c")
WARNINGS = ("-Wall", "-Wextra")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Toolchain:
    """What backends are compiled with and for.

    Attributes:
        compiler: a C compiler.
        headers: the folder that holds ``Python.h``.
        library: Python's shared library.
        python: the interpreter whose packages the backends use.
    """

    compiler: Path
    headers: Path
    library: Path
    python: Path


@dataclass(frozen=True)
class Library:
    """A backend to be compiled.

    Attributes:
        name: the backend's name, which is its folder's.
        module: the Python module that answers.
        delegate: file name of a library, in the same folder, whose the models are that the module does not host.
    """

    name: str
    module: str
    delegate: str | None = None


def find_toolchain() -> Toolchain:
    """Find what the running Python's backends are compiled with.

    Raises:
        CompilationError: something is missing; says what, and how it is installed.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise CompilationError("there is no C compiler (cc or gcc): apt-get install gcc libc6-dev")
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").is_file():
        raise CompilationError(f"there is no {headers / 'Python.h'}: apt-get install python3.11-dev")
    facts = sysconfig.get_config_vars()
    name = str(facts.get("INSTSONAME", ""))
    folders = [Path(str(facts[key])) for key in ("LIBDIR", "LIBPL") if facts.get(key)]
    if facts.get("LIBDIR") and facts.get("MULTIARCH"):
        folders.append(Path(str(facts["LIBDIR"])) / str(facts["MULTIARCH"]))
    libraries = [folder / name for folder in folders if ".so" in name and (folder / name).is_file()]
    if not libraries:
        raise CompilationError(
            "this Python has no shared library: apt-get install libpython3.11, or build it --enable-shared"
        )
    return Toolchain(Path(compiler), headers, libraries[0], Path(sys.executable))


def compile_backend(toolchain: Toolchain, library: Library, target: Path, *, strict: bool = False) -> None:
    """Compile a backend to the file ``target``; what the compiler warns of is logged.

    Args:
        toolchain: what it is compiled with.
        library: the backend.
        target: the file to write.
        strict: a warning is an error.

    Raises:
        CompilationError: the compiler failed; carries the end of what it said.
    """
    delegation = []
    if library.delegate is not None:
        delegation = [f'-DDELEGATE="{library.delegate}"', str(SOURCES / "delegate.c")]
    arguments = [
        "-O2",
        f'-DPYTHON="{toolchain.python}"',
        f'-DLIBPYTHON="{toolchain.library}"',
        f'-DMODULE="{library.module}"',
        f"-I{toolchain.headers}",
        *delegation,
        str(SOURCES / "inprocess.c"),
        str(toolchain.library),
        f"-Wl,-rpath,{toolchain.library.parent}",
    ]
    _compile(toolchain, f"the {library.name} backend", arguments, target, strict=strict)


def compile_kernels(toolchain: Toolchain, processor: str, target: Path, *, strict: bool = False) -> None:
    """Compile the operators for libtorch, to the file ``target``.

    Args:
        toolchain: what it is compiled with; GCC, for its vectors.
        processor: that it will run on, one of :data:`PROCESSORS`.
        target: the file to write.
        strict: a warning is an error.

    Raises:
        CompilationError: the compiler failed, or there is no torch; carries the end of what it said.
    """
    torch = importlib.util.find_spec("torch")
    if torch is None or torch.origin is None:
        raise CompilationError("there is no torch to compile operators for")
    arguments = [
        *("-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-Wno-psabi", *PROCESSORS[processor]),
        *(str(SOURCES / name) for name in KERNELS),
        # Found among what the process has loaded by then.
        *(f"-L{Path(torch.origin).parent / 'lib'}", "-ltorch_cpu"),
    ]
    _compile(toolchain, f"operators for {processor}", arguments, target, strict=strict)


def _compile(toolchain: Toolchain, what: str, arguments: list[str], target: Path, *, strict: bool) -> None:
    command = [
        str(toolchain.compiler),
        *("-std=c11", *WARNINGS, "-shared", "-fPIC"),
        *(["-Werror"] if strict else []),
        *arguments,
        "-o",
        str(target),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CompilationError(f"{toolchain.compiler} could not compile {what}: {error}") from error
    if done.returncode != 0:
        output = "\n".join(done.stderr.strip().splitlines()[-20:])
        raise CompilationError(f"{toolchain.compiler} could not compile {what}:\n{output}")
    if warned := done.stderr.strip():
        _log.warning("%s warns of %s:\n%s", toolchain.compiler, what, warned)
