"""What several verbs do with a task: load its data, train, and show what a model scores."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape
from rich.table import Table
from transformers import TrainerCallback

from trident_training.checkpoints.loading import load_config
from trident_training.commands.console import console, done, note, refuse
from trident_training.data.problems import listing
from trident_training.data.splits import Splits
from trident_training.finetune.lesson import Lesson
from trident_training.finetune.processes import is_first
from trident_training.finetune.run import TEST_METRICS, Result, finetune
from trident_training.finetune.settings import Settings
from trident_training.tasks.base import Data, Task


def load(task: Task, options: Data) -> Splits:
    """Load the data, and say how much there is and what was left out."""
    data = task.load(options)
    describe(task, options, data)
    return data


def describe(task: Task, options: Data, data: Splits) -> None:
    """Say how much data there is, and what was left out."""
    if data.notes:
        note(listing(data.notes))
    if data.summary():
        console.print(data.summary(), soft_wrap=True)
    sizes = ", ".join(f"{split} {len(rows)}" for split, rows in data.splits.items())
    console.print(f"{escape(', '.join(options.sources))}: {sizes} {task.unit}", soft_wrap=True)


def begun_with(data: Splits, settings: Settings) -> dict[str, Any]:
    """Return what must be the same for runs of several processes or hosts to be compared."""
    return settings.as_dict() | {f"{split}_data": data.digest(split) for split in ("train", "validation")}


def train(
    task: Task,
    data: Splits,
    settings: Settings,
    choices: Any,
    callbacks: Sequence[TrainerCallback] = (),
    lesson: Lesson | None = None,
) -> tuple[Result, str | None]:
    """Run one fine-tuning, or go on with it, or return its result; and what is to be said of the finished model."""
    completed = settings.completed(load_config(settings.model))
    prepared = task.prepare(data, completed, choices)
    if lesson is not None:
        prepared = task.distilled(prepared, data, lesson, completed, choices)
    if prepared.remark:
        console.print(prepared.remark, soft_wrap=True)
    result = finetune(prepared, completed, callbacks, say=note)
    if not is_first():
        # The rest is the first process' alone.
        raise typer.Exit
    return result, task.after(data, result.best, settings.max_length, task.scoring_of(choices), choices)


def print_result(name: str, result: Result) -> None:
    """Say what the best epoch scored; exits with 1 when it is a collapsed model."""
    if not tick(name, result):
        raise typer.Exit(1)


def tick(name: str, result: Result) -> bool:
    """Say what the best epoch scored, and return whether its model is one to use: not a collapsed one."""
    score = result.best_epoch[result.primary]
    line = f"{escape(name)}: {result.primary} {score:.3f}, {result.best_name}, in {result.best}"
    if result.collapsed:
        refuse(line, result.collapsed)
    else:
        done(line)
    return not result.collapsed


def report(task: Task, data: Splits, best: Path, max_length: int, scoring: Any) -> None:
    """Say what a checkpoint scores on what it was chosen by, and on what the source itself keeps apart.

    The latter is noted beside it.
    """
    splits = [split for split in task.reported if split in data.splits]
    if not splits:
        return
    predictor = task.predictor(str(best), max_length, scoring)
    found = {}
    for split in splits:
        rows = data.splits[split]
        metrics = found[f"{split}, {len(rows)} {task.unit}"] = task.score(predictor, rows, scoring)
        found |= {f"{split}, {name}": each for name, each in task.baselines(rows).items()}
        if split == "test":
            (best / TEST_METRICS).write_text(json.dumps(metrics, indent=2) + "\n")
    if "test" in splits:
        console.print("The test set is the source's own validation set, which nothing was chosen by:")
    show(task, found)


def show(task: Task, found: Mapping[str, Mapping[str, Any]], title: str = "") -> None:
    """Show metrics as a table: a row for each predictor, above it one for each part of the rows."""
    parted = any("by_source" in metrics for metrics in found.values())
    table = Table(title, *(name.replace("_", " ") for name in task.columns), *([task.unit] if parted else []))
    for name, metrics in found.items():
        for part, each in metrics.get("by_source", {}).items():
            table.add_row(escape(part), *_cells(task, each), str(each[task.unit]))
        table.add_row(escape(name), *_cells(task, metrics))
    console.print(table)


def _cells(task: Task, metrics: Mapping[str, Any]) -> list[str]:
    return [format(metrics[name], form) if name in metrics else "" for name, form in task.columns.items()]
