"""``trident-train distill``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trident_client.options import Group, with_options

from trident_training.commands.console import console, reporting
from trident_training.commands.options import training
from trident_training.finetune.lesson import Lesson
from trident_training.finetune.settings import Settings
from trident_training.tasks.base import Data, Task

HELP = "Fine-tune a model by what another one answers."


def command(task: Task) -> Callable[..., None]:
    """Return the command on a task."""

    @with_options(
        lesson=Group(task.lesson),
        data=Group(task.data),
        choices=Group(task.choices),
        settings=training(task, f"runs/{task.name}-distilled", "label_smoothing"),
    )
    def distill(lesson: Lesson, data: Data, choices: Any, settings: Settings) -> None:
        from trident_training.commands import steps

        with reporting("distill"):
            loaded = steps.load(task, data)
            result, remark = steps.train(task, loaded, settings, choices, lesson=lesson)
            steps.print_result(settings.model, result)
            if remark:
                console.print(remark, soft_wrap=True)
            steps.report(task, loaded, result.best, settings.max_length, task.scoring_of(choices))

    distill.__doc__ = (
        f"Fine-tune {task.model} (--model) by what another one (--teacher) answers, whatever the width and vocabulary "
        "of each, on the data and on further text without labels; the teacher's answers are kept in the cache."
    )
    return distill
