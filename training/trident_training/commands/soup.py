"""``trident-train soup``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from rich.markup import escape
from trident_client.options import Group, with_options
from typer import Argument, Option

from trident_training.commands import adapter
from trident_training.commands.console import console, done, reporting
from trident_training.commands.options import subset
from trident_training.tasks.base import Data, Task

HELP = "Average the weights of several fine-tunings, each taken in only where the validation set gets no worse."


@dataclass(frozen=True, kw_only=True)
class SoupOptions:
    """What is averaged."""

    checkpoints: Annotated[
        list[Path], Argument(help="Folders of models, or of adapters (--base), fine-tuned from one checkpoint.")
    ]
    output: Annotated[Path, Option(help="The averaged model's folder.")]
    max_length: Annotated[int, Option(min=2, help="Tokens that a sequence is cut to.")]
    base: Annotated[
        str | None,
        Option(help="Of adapters, which may be given then: what they were fine-tuned from. Writes an adapter too."),
    ] = None
    uniform: Annotated[bool, Option("--uniform", help="Take all of them in, whatever it does.")] = False


def command(task: Task) -> Callable[..., None]:
    """Return the command on a task."""

    @with_options(
        options=Group(SoupOptions, defaults={"max_length": task.max_length}),
        data=subset(task.data, ("data", "validation_fraction", "split_seed", *task.form)),
        scoring=subset(task.scoring, task.reading),
    )
    def soup(options: SoupOptions, data: Data, scoring: Any) -> None:
        from trident_training.commands import steps
        from trident_training.finetune.soup import write_soup

        with reporting("soup"), tempfile.TemporaryDirectory() as workspace:
            loaded = steps.load(task, data)
            folders, output = options.checkpoints, options.output
            if options.base is not None:
                output = Path(workspace) / "soup"
                folders = [
                    _unpacked(task, folder, options.base, Path(workspace) / str(place))
                    for place, folder in enumerate(folders)
                ]
            predictors = [task.predictor(str(each), options.max_length, scoring) for each in folders]
            taken, found = write_soup(
                folders,
                predictors,
                output,
                lambda: task.validate(predictors[0], loaded),
                task.primary,
                names=[str(each) for each in options.checkpoints],
                companions=task.companions,
                uniform=options.uniform,
            )
            remark = task.after(loaded, output, options.max_length, scoring)
            done(f"{task.primary} {found[task.primary]:.4g} of {len(taken)} in one: {escape(', '.join(taken))}")
            if remark:
                console.print(remark, soft_wrap=True)
            steps.report(task, loaded, output, options.max_length, scoring)
            if options.base is not None:
                adapter.write(output, options.base, options.output)

    soup.__doc__ = f"Average fine-tunings of {task.model}."
    return soup


def _unpacked(task: Task, folder: Path, base: str, place: Path) -> Path:
    """Return an adapter as a checkpoint; a checkpoint as it is."""
    from trident_training.checkpoints.adapters import WEIGHTS, unpack_adapter

    if not (folder / WEIGHTS).is_file():
        return folder
    unpack_adapter(folder, base, place, task.companions)
    return place
