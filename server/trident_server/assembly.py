"""Assembles Triton's backend directory out of links, and leaves the installed wheel untouched.

Triton wants one folder with a sub-folder per backend; the wheel keeps the Python backend and its stubs apart, and the
``pytorch`` backend is this package's own. Server, shared libraries and caches stay where they are. Libraries are none
of these links: the wheel's Python backend of 1.4 MB is a copy, since Triton refuses to serve a Python-based backend
whose library is a link out of the directory; and where backends run inside Triton's process, their libraries are
compiled here, and the copy, under another name, serves the Python models that have processes of their own. Beside the
``pytorch`` backend's library are the operators that it gives libtorch.

The folder's name is a digest of what it links to: another environment or an updated wheel gets another folder, and two
servers that start at once agree on one.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import tempfile
from pathlib import Path

from trident_server.backends import PROCESSORS
from trident_server.compilation import SOURCES, Library, Toolchain, compile_backend, compile_kernels
from trident_server.errors import CompilationError, PathError
from trident_server.wheel import EmbeddedTriton

PYTHON_LIBRARY = "libtriton_python.so"
STUBS_LIBRARY = "libtriton_python_stubs.so"
COMPILED = (
    Library("pytorch", "trident_server.backends.pytorch.inprocess"),
    Library("python", "trident_server.backends.python.inprocess", delegate=STUBS_LIBRARY),
)
WORKABLE = re.compile(r"[\w@%+=:,./-]+", re.ASCII)

_log = logging.getLogger(__name__)


def assemble_backends(triton: EmbeddedTriton, cache_dir: Path, toolchain: Toolchain | None = None) -> Path:
    """Return a backend directory with ``python`` and ``pytorch`` in it, making it when it is not there yet.

    Safe to call from several processes at once: the folder appears complete or not at all.

    Args:
        triton: the server's files.
        cache_dir: under which the directory is made.
        toolchain: compiles what runs inside Triton's own process; without it, each model is served from a process of
            its own.

    Raises:
        PathError: see :func:`check_path`.
        CompilationError: the compiler failed.
    """
    check_path(cache_dir.resolve(), "cache-dir")
    links = {
        "python/triton_python_backend_utils.py": triton.python_backend / "triton_python_backend_utils.py",
        "python/triton_python_backend_stub": triton.python_stub,
    }
    if toolchain is None:
        links["pytorch"] = SOURCES / "pytorch"
    library = triton.python_backend / PYTHON_LIBRARY
    folder = cache_dir.resolve() / "backends" / _digest(links, library, toolchain)
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder.parent))
    try:
        for name, target in links.items():
            link = draft / name
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(target)
        shutil.copy2(library, draft / "python" / (PYTHON_LIBRARY if toolchain is None else STUBS_LIBRARY))
        if toolchain is not None:
            for each in COMPILED:
                (draft / each.name).mkdir(exist_ok=True)
                compile_backend(toolchain, each, draft / each.name / f"libtriton_{each.name}.so")
            _compile_kernels(toolchain, draft / "pytorch")
        os.rename(draft, folder)
    except BaseException as error:
        shutil.rmtree(draft)
        # Another server may have made the same folder first; it holds the same.
        if not (isinstance(error, OSError) and folder.is_dir()):
            raise
    return folder


def _compile_kernels(toolchain: Toolchain, folder: Path) -> None:
    for processor in PROCESSORS:
        try:
            compile_kernels(toolchain, processor, folder / f"kernels-{processor}.so")
        except CompilationError as error:
            _log.warning("models are served all the same, but slower: %s", error)


def check_path(path: Path, setting: str) -> None:
    """Refuse a path that Triton's Python backend cannot work in.

    It starts its stubs by an unquoted shell command, and the Python inside them takes paths for ASCII in every locale.

    Raises:
        PathError: the path holds a space, another character that a shell gives a meaning, or one beyond ASCII; names
            ``setting``.
    """
    if not WORKABLE.fullmatch(str(path)):
        odd = " ".join(sorted({repr(character) for character in WORKABLE.sub("", str(path))}))
        raise PathError(
            f"Triton's Python backend cannot work in '{path}' because of {odd} in that path: use ASCII letters, "
            f"digits and _@%+=:,./- alone, and choose another with --{setting} "
            f"(TRIDENT_{setting.replace('-', '_').upper()})."
        )


def _digest(links: dict[str, Path], library: Path, toolchain: Toolchain | None) -> str:
    facts = library.stat()
    sources = [file.read_bytes() for file in sorted(SOURCES.glob("*.[ch]"))] if toolchain else []
    linked = sorted((name, str(target)) for name, target in links.items())
    text = repr([linked, str(library), facts.st_mtime_ns, toolchain, COMPILED, PROCESSORS, sources])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
