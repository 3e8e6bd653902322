"""The tasks: a folder each, with the same rooms, under one protocol (``base``).

A folder's ``task`` module holds the one :class:`~trident_training.tasks.base.Task` that the rest of the training knows
the task by; ``data``, ``metrics``, ``training``, ``scoring`` and ``head`` are what it is made of. Nothing outside
imports from a task's folder but the table of shipped models.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from trident_training.tasks.base import Task


@cache
def find_tasks() -> dict[str, Task]:
    """Return every task that has a folder here, by name."""
    folders = sorted(each.name for each in pkgutil.iter_modules(__path__) if each.ispkg)
    return {name: importlib.import_module(f"{__name__}.{name}.task").TASK for name in folders}
