"""``trident-train soup``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from rich.markup import escape
from typer import Argument, Option

from trident_training.commands.console import console, done, reporting
from trident_training.commands.options import Group, subset, with_options
from trident_training.tasks.base import Data, Task

HELP = "Average the weights of several fine-tunings, each taken in only where the validation set gets no worse."


@dataclass(frozen=True, kw_only=True)
class SoupOptions:
    """What is averaged."""

    checkpoints: Annotated[list[Path], Argument(help="Folders of models fine-tuned from one checkpoint.")]
    output: Annotated[Path, Option(help="The averaged model's folder.")]
    max_length: Annotated[int, Option(min=2, help="Tokens that a sequence is cut to.")]
    uniform: Annotated[bool, Option("--uniform", help="Take all of them in, whatever it does.")] = False


def command(task: Task) -> Callable[..., None]:
    """Return the command on a task."""

    @with_options(
        options=Group(SoupOptions, defaults={"max_length": task.max_length}),
        data=subset(task.data, ("data", "validation_fraction", "split_seed")),
        scoring=subset(task.scoring, task.reading),
    )
    def soup(options: SoupOptions, data: Data, scoring: Any) -> None:
        from trident_training.commands import steps
        from trident_training.finetune.soup import write_soup

        with reporting("soup", OSError):
            loaded = steps.load(task, data)
            predictors = [task.predictor(str(each), options.max_length, scoring) for each in options.checkpoints]
            taken, found = write_soup(
                options.checkpoints,
                predictors,
                options.output,
                lambda: task.validate(predictors[0], loaded),
                task.primary,
                companions=task.companions,
                uniform=options.uniform,
            )
            remark = task.after(loaded, options.output, options.max_length, scoring)
        names = ", ".join(map(str, taken))
        done(f"{task.primary} {found[task.primary]:.4g} of {len(taken)} in one: {escape(names)}")
        if remark:
            console.print(remark, soft_wrap=True)
        steps.report(task, loaded, options.output, options.max_length, scoring)

    soup.__doc__ = f"Average fine-tunings of {task.model}."
    return soup
