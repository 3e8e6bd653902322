"""The groups of options that several commands have."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from pathlib import Path
from typing import Any

from trident_client.options import Group

from trident_training.finetune.settings import Settings
from trident_training.tasks.base import Task


def training(task: Task, output: str, *without: str) -> Group:
    """Return the settings of a fine-tuning on a task.

    Args:
        task: what is learned.
        output: the folder that is written to by default.
        without: fields that are not offered.
    """
    hidden = without if task.label_smoothing else ("label_smoothing", *without)
    return Group(Settings, hidden, {"output": Path(output), "max_length": task.max_length})


def subset(kind: type[Any], names: Collection[str]) -> Group:
    """Return the options of a dataclass that have these names."""
    return Group(kind, [each.name for each in fields(kind) if each.name not in names])
