"""``trident-train``: a table of verbs and tasks, and what is of no task or of one alone."""

from __future__ import annotations

from collections.abc import Iterable

import typer

from trident_training.commands import adapter, distill, evaluate, export, finetune, models, soup, sweep, tune
from trident_training.tasks import find_tasks
from trident_training.tasks.base import Task

VERBS = {
    "finetune": finetune,
    "distill": distill,
    "sweep": sweep,
    "tune": tune,
    "evaluate": evaluate,
    "soup": soup,
    "export": export,
}


def build(tasks: Iterable[Task]) -> typer.Typer:
    """Return the command line of these tasks."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, help="Train, evaluate and export Trident's models.")
    app.command("models")(models.models)
    tasks = list(tasks)
    names = ", ".join(task.name for task in tasks)
    for name, verb in VERBS.items():
        group = typer.Typer(no_args_is_help=True, help=f"{verb.HELP} Tasks: {names}.")
        for task in tasks:
            group.command(task.name)(verb.command(task))
        app.add_typer(group, name=name)
    app.command("adapter")(adapter.adapter)
    for task in tasks:
        for name, command in task.commands().items():
            app.command(name)(command)
    return app


app = build(find_tasks().values())


def main() -> None:
    """Run the command line."""
    app()
