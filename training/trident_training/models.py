"""What ``make models`` does: builds the models that are missing or stale, and nothing else.

Deciding costs no torch: a model is fresh while the digest over everything it was made from is the one its report holds.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trident_server import installation, shipped

from trident_training.checkpoints import bundled
from trident_training.checkpoints.errors import CheckpointError
from trident_training.checkpoints.notes import is_number, read_object
from trident_training.checkpoints.precision import Precision, candidates, resolve, weight_steps
from trident_training.repository import ModelSet
from trident_training.tasks import find_tasks
from trident_training.tasks.base import Exported, Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Looks at what is about to be served, and raises ``ValueError`` to refuse it.
Gate = Callable[[Exported], None]

#: Whose code decides what an export is.
EXPORTER = [Path(__file__).parent / name for name in ("checkpoints", "export")]
ADAPTERS = shipped.adapters()
TOKENIZER = "tokenizer.json"
#: Where a fine-tuning notes what it scored, on data that nothing was chosen by or else on what it was chosen by.
METRICS, TEST_METRICS, RESULT = "metrics.json", "test_metrics.json", "result.json"


@dataclass(frozen=True)
class Recipe:
    """What one served model is made from.

    Attributes:
        name: the set's name in the repository.
        task: what it serves.
        checkpoint: the base, a local path, a hub name or a bundled encoder's.
        title: the base in words, for reports.
        adapter: folder of what a fine-tuning changed in the base; None for the base as it is.
        languages: BCP 47 tags of the languages that it is known to serve; those of its card when empty.
        max_tokens: tokens of a variant's longest sequence; as the folders that it is made of have it when None.
    """

    name: str
    task: Task
    checkpoint: str
    title: str
    adapter: Path | None = None
    languages: tuple[str, ...] = ()
    max_tokens: int | None = None

    @property
    def shipped(self) -> bool:
        """Whether ``make models`` builds this, as against a model of the user's own."""
        return self == SHIPPED.get(self.name)

    @property
    def weights(self) -> Path:
        """The folder of the fine-tuned weights and of what was noted beside them."""
        return self.adapter or Path(self.checkpoint)

    @property
    def tokenizer(self) -> str:
        """The folder, or the name, that has the tokenizer: the adapter's where it brings its own."""
        if self.adapter is not None and (self.adapter / TOKENIZER).is_file():
            return str(self.adapter)
        return self.checkpoint

    def size(self) -> tuple[int, int]:
        """Return how many layers the encoder has, and how wide it is: the last dimension of an embedding.

        Raises:
            CheckpointError: its configuration does not say.
        """
        file = self.weights / "config.json"
        config = read_object(file)
        layers, width = (config.get(name) for name in ("num_hidden_layers", "hidden_size"))
        if not (isinstance(layers, int) and isinstance(width, int)):
            raise CheckpointError(f"{file} does not say num_hidden_layers and hidden_size")
        return layers, width

    def facts(self) -> dict[str, Any]:
        """Return what a client is told of the model."""
        noted = self.task.metadata(self.weights)
        return {
            "task": self.task.name,
            "languages": ",".join(self.languages or noted.get("languages") or ()) or None,
            "threshold": noted.get("threshold"),
            "metrics": _scores(self.weights, self.task.spec.metrics) or noted.get("metrics"),
            "labels": noted.get("labels"),
        }

    def fine_tuned(self, kind: Any) -> PreTrainedModel:
        """Return the fine-tuned model: the adapter's on its base, or the checkpoint's, float32, for inference.

        Args:
            kind: the class of transformers that has the task's head.

        Raises:
            CheckpointError: the checkpoint has no trained head, or the adapter does not fit.
        """
        from trident_training.checkpoints import adapters, loading

        if self.adapter is not None:
            return adapters.merge_adapter(self.adapter, self.checkpoint)
        return loading.load_with_head(self.checkpoint, kind)


def shipped_recipes() -> dict[str, Recipe]:
    """Return the models that the project ships, by name."""
    small, tasks = bundled.location("small"), find_tasks()

    def recipe(name: str, task: str, encoder: str, *languages: str, max_tokens: int | None = None) -> Recipe:
        # An encoder that is made in the cache is named: it is fetched when a model is built from it, and not to look.
        checkpoint = small if encoder == "small" else encoder
        title = f"{bundled.title(encoder)} with adapters/{name}"
        return Recipe(name, tasks[task], checkpoint, title, ADAPTERS / name, languages, max_tokens)

    recipes = (
        recipe("cola", "cola", "base", "en"),
        recipe("cola_small", "cola", "small", "en"),
        recipe("qa", "qa", "base", "en"),
        recipe("qa_ko", "qa", "multilingual", "ko"),
        recipe("qa_small", "qa", "small", "en"),
        recipe("rerank", "rerank", "small", "en", max_tokens=256),
        recipe("sts", "sts", "small"),
        recipe("sts_base", "sts", "base"),
        recipe("sts_ko", "sts", "multilingual"),
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
    # A shipped variant is as long as the task's own set, whatever it was exported for.
    sized = target.source if target.is_variant and recipe.shipped else target
    return State.FRESH if report.get("inputs") == digest(recipe, sized, precision) else State.STALE


def read_report(target: ModelSet) -> dict[str, Any] | None:
    """Return the export's report, or None where there is none that can be read."""
    try:
        report = json.loads(target.report_file.read_text())
    except (OSError, ValueError):
        return None
    return report if isinstance(report, dict) else None


def digest(recipe: Recipe, target: ModelSet, precision: Precision) -> str:
    """Return SHA-256 over all that decides what an export is: weights, exporter, libraries, dtype and lengths."""
    total, folder = hashlib.sha256(), Path(recipe.checkpoint)
    facts = {
        "task": recipe.task.name,
        "checkpoint": bundled.pinned(recipe.checkpoint) or ("" if folder.is_dir() else recipe.checkpoint),
        "dtype": precision.value,
        "max_tokens": target.max_tokens() if recipe.max_tokens is None else recipe.max_tokens,
        "torch": metadata.version("torch"),
        "transformers": metadata.version("transformers"),
    }
    if precision is Precision.INT8:
        facts["weight_steps"] = weight_steps()
    total.update(json.dumps(facts, sort_keys=True).encode())
    parts = (
        (folder, "*"),
        (recipe.adapter, "*.safetensors*"),
        (recipe.adapter, "*.json"),
        *((folder, pattern) for folder in EXPORTER for pattern in ("*.py", "*.txt")),
        *((file.parent, file.name) for file in head_files(recipe.task)),
    )
    for part, pattern in parts:
        for file in _files(part, pattern):
            total.update(f"\n{file.name}\n".encode())
            with file.open("rb") as content:
                total.update(hashlib.file_digest(content, "sha256").digest())
    return total.hexdigest()


def head_files(task: Task) -> list[Path]:
    """Return the code of a task's head, its own or that of the kind of task that it derives from."""
    folders = (Path(inspect.getfile(each)).parent for each in type(task).__mro__ if issubclass(each, Task))
    return [file for folder in folders if (file := folder / "head.py").is_file()]


def build(
    recipe: Recipe,
    target: ModelSet,
    precision: Precision,
    gate: Gate | None = None,
    overrides: Any = None,
    max_tokens: int | None = None,
) -> dict[str, Any]:
    """Export and install one model; returns its report.

    Model, configurations and all else are written when nothing refuses it any more, and all at once.

    Args:
        recipe: what to make it from.
        target: where to install it; the configuration of its task must be there.
        precision: what ``auto`` finds is given up for the next best where it is not close enough to the plain model.
        gate: looks at the export before it is installed, and raises ``ValueError`` to refuse it.
        overrides: the task's, in place of what is noted beside the weights; none when None.
        max_tokens: a variant's longest sequence; as the recipe has it when None.

    Raises:
        ValueError: the export is refused (no such checkpoint, outside its tolerance, of another size than configured,
            or by the gate).
    """
    # Heavy: a second is what the check of fresh models may take in all.
    from trident_training.checkpoints.loading import load_config, tokenizer_json
    from trident_training.export.pipeline import export, write

    if target.is_variant:
        target.check_variant()
    # Says in a line what cannot be loaded at all.
    config = load_config(recipe.checkpoint)
    overrides = recipe.task.overrides() if overrides is None else overrides
    head = recipe.task.head(recipe)
    if not target.is_variant and head.width != target.width():
        raise ValueError(
            f"{recipe.title} is {head.width} wide, and {target.folder(target.spec.network).name} is configured for "
            f"{target.width()}; export it under a name of its own"
        )
    sized = target.source if target.is_variant else target
    max_tokens = recipe.max_tokens if max_tokens is None else max_tokens
    longest = sized.max_tokens() if max_tokens is None else max_tokens
    tokenizer = tokenizer_json(recipe.tokenizer)
    resolved, *then = candidates(precision)
    described = recipe.facts() | recipe.task.overridden_metadata(overrides)
    languages = [each for each in (described["languages"] or "").split(",") if each]
    exported = export(head, resolved, longest, then=then, tokenizer=tokenizer, languages=languages)
    files = recipe.task.files(recipe.weights, overrides)
    prompts = recipe.task.prompts(str(recipe.weights)).parameters()
    if gate is not None:
        parameters = sized.parameters("tokenizer") | prompts
        gate(Exported(exported.module, tokenizer, longest, files, parameters, described))
    facts = {
        "name": recipe.name,
        "task": recipe.task.name,
        "source": recipe.title,
        "shipped": recipe.shipped,
        "max_tokens": longest,
        "torch": metadata.version("torch"),
        "transformers": metadata.version("transformers"),
    }
    with target.drafting() as draft:
        if target.is_variant:
            draft.copy(target.source, head.width, max_tokens, described)
        else:
            draft.take_configurations(target)
        facts["inputs"] = digest(recipe, draft, resolved)
        texts = {draft.tokenizer_file: tokenizer} | {draft.further_files[name]: text for name, text in files.items()}
        write(exported, texts, draft, facts)
        draft.note_vocabulary(draft.tokenizer_file)
        draft.set_prompts(prompts)
        draft.set_limits(recipe.task.limits(config.num_hidden_layers, config.hidden_size))
        draft.describe(described)
    report = read_report(target)
    if report is None:
        raise ValueError(f"{target.report_file} was written and cannot be read back")
    return report


def plan(
    repository: Path, precision: Precision, names: Collection[str] = ()
) -> Iterator[tuple[Recipe, ModelSet, State]]:
    """Yield shipped models with where they go and how they stand.

    What a killed export left to do is done first. A variant's configuration is written where its model is fresh, or is
    not there; it comes with its model else.

    Args:
        repository: where they are installed.
        precision: what to compute in.
        names: of the sets that are wanted; all where there are none.
    """
    installation.finish(repository)
    for recipe in SHIPPED.values():
        if names and recipe.name not in names:
            continue
        target = ModelSet(repository, recipe.task.spec, recipe.name)
        found = state(recipe, target, resolve(precision))
        if target.is_variant and (found is State.FRESH or not target.network_file.is_file()):
            _write_variant(recipe, target)
        yield recipe, target, found


def _write_variant(recipe: Recipe, target: ModelSet) -> None:
    target.check_variant()
    layers, width = recipe.size()
    with target.drafting() as draft:
        # A task's own width is what its network answers with, whatever the encoder's.
        draft.copy(target.source, recipe.task.spec.width or width, recipe.max_tokens, recipe.facts())
        draft.note_vocabulary(target.tokenizer_file)
        # Those of the task's own set were copied.
        draft.set_prompts(recipe.task.prompts(str(recipe.weights)).parameters())
        draft.set_limits(recipe.task.limits(layers, width))


def _files(folder: Path | None, pattern: str) -> list[Path]:
    return sorted(file for file in folder.glob(pattern) if file.is_file()) if folder and folder.is_dir() else []


def _scores(folder: Path, names: Sequence[str]) -> dict[str, float]:
    """Return what an adapter's or a checkpoint's folder notes of these metrics, the report's before the choice's.

    Raises:
        CheckpointError: it notes something else.
    """
    file = folder / METRICS
    notes: Any = read_object(file) if file.is_file() else None
    if not notes:
        notes = {name: read_object(folder / name) for name in (TEST_METRICS, RESULT) if (folder / name).is_file()}
        file = folder
    try:
        found = notes.get(TEST_METRICS) or notes.get(RESULT, {}).get("best_epoch", {})
        noted = {name: found[name] for name in names if name in found}
    except (AttributeError, TypeError) as error:
        raise CheckpointError(f"{file} notes no metrics as a fine-tuning does: {error}") from error
    if strange := [name for name, value in noted.items() if not is_number(value)]:
        raise CheckpointError(f"{file} notes something as {strange[0]} that is no number")
    return {name: round(value, 4) for name, value in noted.items()}
