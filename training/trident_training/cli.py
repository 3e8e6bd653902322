"""``trident-train``: a table of verbs and tasks, and what is of no task or of one alone."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Annotated

import typer
from trident_server.backends.cores import usable_cores

from trident_training.commands import adapter, console, distill, evaluate, export, finetune, models, soup, sweep, tune
from trident_training.finetune import processes
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
#: What several processes do as one, as ``torchrun`` starts them.
TOGETHER = ("finetune", "distill", "contrast", "intermediate")
#: What says itself how several share it.
SHARED = ("sweep", "tune")


def share_cores(
    context: typer.Context,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Of the processor that are computed on; by default OMP_NUM_THREADS, or one a core, and no more than a "
            "container's limit on processor time allows.",
        ),
    ] = None,
) -> None:
    """Train, evaluate and export Trident's models."""
    # Before torch loads OpenMP, which looks at this once. A thread that spins while it waits for another one takes the
    # core from a training or a server beside it: a step took up to five times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # Pictures are files. A notebook names a backend to all that it starts, which matplotlib may not find here.
    os.environ["MPLBACKEND"] = "agg"
    cores = usable_cores()
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    elif cores < len(os.sched_getaffinity(0)):
        os.environ.setdefault("OMP_NUM_THREADS", str(cores))
    verb, together = context.invoked_subcommand or "", processes.count()
    if together > 1 and verb not in (*TOGETHER, *SHARED):
        console.refuse(verb, f"one process does it; {', '.join(TOGETHER)} run on {together}")
        raise typer.Exit(1)


def build(tasks: Iterable[Task]) -> typer.Typer:
    """Return the command line of these tasks."""
    app = typer.Typer(no_args_is_help=True, add_completion=False)
    app.callback()(share_cores)
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
