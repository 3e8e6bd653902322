"""The command that only acceptability has: ``trident-train intermediate``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from trident_client.options import Group, with_options
from typer import Option

from trident_training.commands.console import note, reporting
from trident_training.commands.options import training
from trident_training.finetune.settings import Settings
from trident_training.tasks.cola.task import TASK, AcceptabilityOptions


@dataclass(frozen=True, kw_only=True)
class IntermediateOptions:
    """What sentences are made of."""

    text: Annotated[list[Path], Option(help="SQuAD's JSON, or a file with a sentence a line; may be repeated.")]
    examples: Annotated[int, Option(min=1000, help="Sentences to make, half of them broken.")] = 400_000


@with_options(
    options=Group(IntermediateOptions),
    data=Group(AcceptabilityOptions),
    settings=training(TASK, "runs/intermediate", "label_smoothing"),
)
def intermediate(options: IntermediateOptions, data: AcceptabilityOptions, settings: Settings) -> None:
    """Before fine-tuning on CoLA: train on sentences broken by rule and on minimal pairs made from templates."""
    from trident_training.checkpoints.loading import load_config
    from trident_training.classification.training import check_labels
    from trident_training.commands import steps
    from trident_training.finetune.run import finetune
    from trident_training.tasks.cola.intermediate import stage

    with reporting("intermediate"):
        loaded = TASK.load(data)
        steps.describe(TASK, data, loaded)
        # Made sentences have both labels, whatever the train set has.
        check_labels(TASK, loaded, "validation")
        completed = settings.completed(load_config(settings.model))
        result = finetune(stage.prepare(loaded, options.text, options.examples, completed), completed, say=note)
    steps.print_result(settings.model, result)
