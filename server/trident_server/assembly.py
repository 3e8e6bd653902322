"""Assembles Triton's backend directory out of links, and leaves the installed wheel untouched.

Triton wants one folder with a sub-folder per backend; the wheel keeps the Python backend and its stubs apart, and the
``pytorch`` backend is this package's own. Server, shared libraries and caches stay where they are. One file, the
Python backend's library of 1.4 MB, is a copy: Triton refuses to serve a Python-based backend whose library is a link
out of the directory.

The folder's name is a digest of what it links to: another environment or an updated wheel gets another folder, and two
servers that start at once agree on one.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path

from trident_server.errors import PathError
from trident_server.wheel import EmbeddedTriton

PYTORCH_BACKEND = Path(__file__).resolve().parent / "backends" / "pytorch"
PYTHON_LIBRARY = "libtriton_python.so"
WORKABLE = re.compile(r"[\w@%+=:,./-]+", re.ASCII)


def assemble_backends(triton: EmbeddedTriton, cache_dir: Path) -> Path:
    """Return a backend directory with ``python`` and ``pytorch`` in it, making it when it is not there yet.

    Safe to call from several processes at once: the folder appears complete or not at all.

    Raises:
        PathError: see :func:`check_path`.
    """
    check_path(cache_dir.resolve(), "cache-dir")
    links = {
        "python/triton_python_backend_utils.py": triton.python_backend / "triton_python_backend_utils.py",
        "python/triton_python_backend_stub": triton.python_stub,
        "pytorch": PYTORCH_BACKEND,
    }
    library = triton.python_backend / PYTHON_LIBRARY
    folder = cache_dir.resolve() / "backends" / _digest(links, library)
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder.parent))
    for name, target in links.items():
        link = draft / name
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(target)
    shutil.copy2(library, draft / "python" / PYTHON_LIBRARY)
    try:
        os.rename(draft, folder)
    except OSError:
        # Another server made the same folder first; it holds the same links.
        shutil.rmtree(draft)
        if not folder.is_dir():
            raise
    return folder


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


def _digest(links: dict[str, Path], library: Path) -> str:
    facts = library.stat()
    text = repr([sorted((name, str(target)) for name, target in links.items()), str(library), facts.st_mtime_ns])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
