"""``trident-train finetune``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trident_client.options import Group, with_options

from trident_training.commands.console import console, reporting
from trident_training.commands.options import training
from trident_training.finetune.settings import Settings
from trident_training.tasks.base import Data, Task

HELP = "Fine-tune a pretrained model."


def command(task: Task) -> Callable[..., None]:
    """Return the command on a task."""

    @with_options(data=Group(task.data), choices=Group(task.choices), settings=training(task, f"runs/{task.name}"))
    def finetune(data: Data, choices: Any, settings: Settings) -> None:
        from trident_training.commands import steps

        with reporting("finetune"):
            loaded = steps.load(task, data)
            result, remark = steps.train(task, loaded, settings, choices)
            steps.print_result(settings.model, result)
            if remark:
                console.print(remark, soft_wrap=True)
            steps.report(task, loaded, result.best, settings.max_length, task.scoring_of(choices))

    finetune.__doc__ = f"Fine-tune {task.model}; what is not given is as the architecture's paper has it."
    return finetune
