"""Keeps a served model from being replaced by one that scores worse."""

from __future__ import annotations

from typing import Any

import torch
from datasets import Dataset

from trident_training.models import Gate
from trident_training.repository import ModelSet
from trident_training.tasks.base import Exported, Task

HOW = "--replace installs it all the same"


class GateError(ValueError):
    """A model that must not replace the one that is served; the text says why and how to replace it all the same."""


def gate(task: Task, target: ModelSet, rows: Dataset | None, scoring: Any) -> Gate | None:
    """Return a gate that lets an export replace the served model where it scores at least as well.

    Args:
        task: what both do.
        target: where the served model stands; None is returned where there is none.
        rows: what both are scored on; None where there is nothing to score on, and only an empty place is filled.
        scoring: how; an instance of the task's ``scoring``.

    Raises:
        GateError: a model is served, and there is nothing to score on.
    """
    if not target.network_file.is_file():
        return None
    if rows is None:
        raise GateError(f"{target.name} is served already; --data compares the two models, {HOW}")

    def check(export: Exported) -> None:
        old, new = (_score(task, each, rows, scoring) for each in (_served(target), export))
        if new < old:
            raise GateError(
                f"{task.primary} is {new:.4f} over {len(rows)} {task.unit}, and the served model's is {old:.4f}; {HOW}"
            )

    return check


def _served(target: ModelSet) -> Exported:
    files = {name: file.read_text() for name, file in target.further_files.items() if file.is_file()}
    module = torch.jit.load(target.network_file)
    tokenizer, parameters = target.tokenizer_file.read_text(), target.parameters("tokenizer")
    return Exported(module, tokenizer, target.max_tokens(), files, parameters, target.parameters(""))


def _score(task: Task, export: Exported, rows: Dataset, scoring: Any) -> float:
    return float(task.score(task.exported(export), rows, scoring)[task.primary])
