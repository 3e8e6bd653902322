"""Tiny random checkpoints of every task, exported by the project's own command as variants of what it ships."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from trident_training.checkpoints.pooling import Pooling
from trident_training.cli import app
from trident_training.tasks.sts.pairs import MODULES
from typer.testing import CliRunner

SOURCE = Path(__file__).resolve().parents[2] / "model_repository"
MAX_TOKENS = 60
#: Tokens that neighbouring windows of a reader share.
DOC_STRIDE = 8
#: How much larger the weights of layers and of heads are made: as they begin, everything is answered alike.
LAYERS, HEADS = 12.0, 20.0


def add_head(encoder: Path, task: str, folder: Path) -> Path:
    """Write a checkpoint of a task on a tiny encoder, its head random; return the folder."""
    import torch
    import transformers

    shutil.copytree(encoder, folder)
    if task == "sts":
        (folder / "modules.json").write_text(json.dumps(MODULES))
        Pooling.MEAN.write(folder, 32)
        return folder
    kinds = {"cola": transformers.AutoModelForSequenceClassification, "qa": transformers.AutoModelForQuestionAnswering}
    torch.manual_seed(2)
    model = kinds[task].from_pretrained(encoder)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if name.startswith(("classifier.", "qa_outputs.")):
                weights.mul_(HEADS)
            # A reader tells tokens apart as it is; a classifier is to tell sentences apart by their first.
            elif task == "cola" and weights.dim() == 2 and "embeddings" not in name:
                weights.mul_(LAYERS)
    model.save_pretrained(folder)
    return folder


def export_variants(checkpoints: Mapping[str, Path], repository: Path, dtype: str) -> list[str]:
    """Export a checkpoint of each task as ``<task>_tiny``, and leave nothing else in the repository.

    Args:
        checkpoints: by task.
        repository: a folder that does not exist yet.
        dtype: what they compute in.

    Returns:
        The folders' names.
    """
    for folder in SOURCE.iterdir():
        if folder.name.split("_")[0] in checkpoints:
            shutil.copytree(
                folder, repository / folder.name, ignore=shutil.ignore_patterns("model.pt", "*.json", "__pycache__")
            )
    for file in repository.glob("qa_tokenizer/config.pbtxt"):
        file.write_text(file.read_text().replace('"96"', f'"{DOC_STRIDE}"'))
    for task, checkpoint in checkpoints.items():
        options = ["--checkpoint", checkpoint, "--name", f"{task}_tiny", "--max-tokens", MAX_TOKENS, "--dtype", dtype]
        done = CliRunner().invoke(app, ["export", task, *map(str, options), "--repository", str(repository)])
        if done.exit_code:
            raise RuntimeError(done.output) from done.exception
    made = {folder for task in checkpoints for folder in repository.glob(f"{task}_tiny*")}
    for folder in set(repository.iterdir()) - made:
        shutil.rmtree(folder)
    return sorted(folder.name for folder in made)
