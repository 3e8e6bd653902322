"""Assembles Triton's backend directory, a few megabytes, and leaves the wheel untouched.

Triton wants one folder with a sub-folder per backend; the wheel keeps the Python backend and its stubs apart, and the
``pytorch`` backend is this package's own. The files are copies: Triton refuses a Python-based backend whose library is
a link out of the folder. Server, shared libraries and caches are large and stay where they are. The folder's name
carries a digest of what was copied: an updated environment gets a new folder, and two servers that start at once agree
on the same one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from trident_server.wheel import EmbeddedTriton

BACKENDS = Path(__file__).parent / "backends"


def assemble_backends(triton: EmbeddedTriton, cache_dir: Path) -> Path:
    """Return a backend directory with ``python`` and ``pytorch`` in it, making it when it is not there yet."""
    files = _files(triton)
    facts = "\n".join(f"{name}={file}:{file.stat().st_mtime_ns}" for name, file in sorted(files.items()))
    folder = cache_dir.resolve() / f"backends-{hashlib.sha256(facts.encode()).hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".backends-", dir=folder.parent))
    for name, file in files.items():
        (draft / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, draft / name)
    try:
        draft.chmod(0o755)
        os.rename(draft, folder)
    except OSError:
        # Another server made the same folder first; it holds the same files.
        shutil.rmtree(draft)
        if not folder.is_dir():
            raise
    return folder


def _files(triton: EmbeddedTriton) -> dict[str, Path]:
    files = {f"python/{file.name}": file for file in triton.python_backend.iterdir() if file.suffix in {".so", ".py"}}
    files["python/triton_python_backend_stub"] = triton.python_stub
    for model in BACKENDS.glob("*/model.py"):
        files[f"{model.parent.name}/model.py"] = model
    return files
