"""``trident-train evaluate``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from trident_client.options import Group, with_options
from typer import Option

from trident_training.commands.console import console, reporting
from trident_training.commands.options import subset
from trident_training.tasks.base import Data, Task

HELP = "Score a checkpoint or a running server."


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """What is scored, and on what."""

    checkpoint: Annotated[str | None, Option(help="Path or hub name of a fine-tuned model.")] = None
    server: Annotated[str | None, Option(help="host:port of a running Triton, in place of a checkpoint.")] = None
    protocol: Annotated[Literal["http", "grpc"], Option(help="What the server speaks at that port.")] = "http"
    model: Annotated[str, Option(help="Which of the server's models of the task.")]
    data: Annotated[str, Option(help="As finetune takes it: file, folder or hub name.")]
    validation_fraction: Annotated[
        float, Option(min=0, max=0.5, help="Score what finetune carves off; 0: the dev set, or all of a file.")
    ] = 0.0
    split_seed: Annotated[int, Option(help="Of what is carved off to choose by.")] = 0
    limit: Annotated[int | None, Option(min=1, help="Only the first so many rows.")] = None
    max_length: Annotated[int, Option(min=2, help="Tokens that a checkpoint's sequence is cut to.")]


def command(task: Task) -> Callable[..., None]:
    """Return the command on a task."""
    defaults = {"model": task.name, "data": task.source, "max_length": task.max_length}

    @with_options(
        options=Group(EvaluateOptions, defaults=defaults),
        form=subset(task.data, task.form),
        scoring=Group(task.scoring),
    )
    def evaluate(options: EvaluateOptions, form: Data, scoring: Any) -> None:
        from trident_client import TridentError

        from trident_training.commands import steps

        with reporting("evaluate", TridentError):
            if (options.checkpoint is None) == (options.server is None):
                raise ValueError("give either a checkpoint or a server's address")
            rows = task.rows(options.data, options.validation_fraction, options.split_seed, form)
            if rows.info.description:
                console.print(rows.info.description, soft_wrap=True)
            if options.limit is not None:
                rows = rows.select(range(min(options.limit, len(rows))))
            if options.checkpoint:
                predictor = task.predictor(options.checkpoint, options.max_length, scoring)
            else:
                predictor = task.served(str(options.server), options.protocol, options.model)
            found = {"model": task.score(predictor, rows, scoring)} | task.baselines(rows)
        steps.show(task, found, f"{len(rows)} {task.unit}")
        if remark := task.remark(predictor, scoring):
            console.print(remark)

    evaluate.__doc__ = f"Score {task.model}, by itself or through a server: {', '.join(task.columns)}."
    return evaluate
