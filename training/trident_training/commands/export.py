"""``trident-train export``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from trident_client.options import Group, with_options
from trident_server import installation, shipped
from typer import Option

from trident_training.commands.building import build_model
from trident_training.commands.console import reporting
from trident_training.commands.models import RepositoryOptions
from trident_training.commands.options import subset
from trident_training.models import SHIPPED, Gate, Recipe
from trident_training.repository import ModelSet
from trident_training.tasks.base import Data, Task

HELP = "Export a checkpoint into the model repository, unless it scores worse than what is served."


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What is exported, and what it is compared by."""

    checkpoint: Annotated[str | None, Option(help="Path or hub name; the shipped adapter by default.")] = None
    name: Annotated[str, Option(help="Another name makes a variant beside the first.")]
    data: Annotated[
        str | None, Option(help="What the new and the served model are scored on; taken as finetune takes it.")
    ] = None
    validation_fraction: Annotated[
        float, Option(min=0, max=0.5, help="Score on what finetune carves off; 0: the dev set, or all of a file.")
    ]
    split_seed: Annotated[int, Option(help="Of what is carved off.")] = 0
    replace: Annotated[bool, Option("--replace", help="Replace the served model whatever it scores.")] = False
    max_tokens: Annotated[int | None, Option(min=2, help="A variant's longest sequence.")] = None


def command(task: Task) -> Callable[..., None]:
    """Return the command on a task."""
    defaults = {"name": task.name, "validation_fraction": task.data().validation_fraction}

    @with_options(
        options=Group(ExportOptions, defaults=defaults),
        form=subset(task.data, task.form),
        scoring=subset(task.scoring, task.comparison),
        overrides=Group(task.overrides),
        where=Group(RepositoryOptions),
    )
    def export(options: ExportOptions, form: Data, scoring: Any, overrides: Any, where: RepositoryOptions) -> None:
        recipe = _recipe(task, options.name, options.checkpoint)
        with reporting("export", OSError):
            shipped.make_copy(where.repository)
            installation.finish(where.repository)
            target = ModelSet(where.repository, task.spec, options.name)
            if target.is_variant:
                target.check_variant()
            elif options.max_tokens is not None:
                raise ValueError(
                    f"'{task.name}' takes its longest sequence from its config.pbtxt; name a variant (--name)"
                )
            gate = _gate(task, options, form, scoring, target)
        if not build_model(recipe, target, where.dtype, "exported anew", gate, overrides, options.max_tokens):
            raise typer.Exit(1)

    export.__doc__ = (
        f"Export {task.model} into the model repository; one that scores worse than what is served is refused."
    )
    return export


def _gate(task: Task, options: ExportOptions, form: Data, scoring: Any, target: ModelSet) -> Gate | None:
    """Return what compares the export with what is served, if anything is to."""
    if options.replace:
        return None
    from trident_training.export.gate import gate

    rows = task.rows(options.data, options.validation_fraction, options.split_seed, form) if options.data else None
    return gate(task, target, rows, scoring)


def _recipe(task: Task, name: str, checkpoint: str | None) -> Recipe:
    if checkpoint is not None:
        return Recipe(name, task, checkpoint, checkpoint)
    shipped = SHIPPED.get(name) or SHIPPED.get(task.name)
    if shipped is None or shipped.task is not task:
        shipped = SHIPPED.get(task.name)
    if shipped is None:
        raise typer.BadParameter(f"the project ships no model of the task {task.name}; name one with --checkpoint")
    return dataclasses.replace(shipped, name=name)
