"""``trident-train tune``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from trident_client.options import Group, with_options
from typer import Option

from trident_training.commands.console import console, done, refuse, reporting
from trident_training.commands.options import training
from trident_training.finetune.settings import Settings
from trident_training.finetune.space import Space
from trident_training.tasks.base import Data, Task

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial
    from transformers import TrainerCallback

    from trident_training.finetune.run import Result

HELP = "Search for hyper-parameters; may be interrupted and shared."
SPACE = Space()
#: Settings that are drawn for each trial.
SEARCHED = ("learning_rate", "weight_decay", "batch_size", "epochs")


@dataclass(frozen=True)
class TuneOptions:
    """The study.

    Raises:
        SettingsError: a space that cannot be searched.
    """

    trials: Annotated[int, Option(min=1, help="Trials in the study, of all its processes together.")] = 20
    storage: Annotated[
        str | None, Option(help="URL of a database that several machines share; a file in --output by default.")
    ] = None
    study: Annotated[str, Option(help="The study's name in its storage.")] = "study"
    learning_rates: Annotated[
        tuple[float, float], Option(help="Least and greatest learning rate.", metavar="FROM TO")
    ] = SPACE.learning_rate
    weight_decays: Annotated[
        tuple[float, float], Option(help="Least and greatest weight decay.", metavar="FROM TO")
    ] = SPACE.weight_decay
    batch_sizes: Annotated[list[int], Option(min=1, help="To choose from; repeatable.")] = field(
        default_factory=lambda: list(SPACE.batch_sizes)
    )
    most_epochs: Annotated[int, Option(min=1, help="A trial has 1 to so many.")] = SPACE.most_epochs

    def __post_init__(self) -> None:
        # Refuses what cannot be searched.
        self.space()

    def space(self) -> Space:
        """Return where to search."""
        return Space(self.learning_rates, self.weight_decays, tuple(self.batch_sizes), self.most_epochs)


def command(task: Task) -> Callable[..., None]:
    """Return the command on a task."""

    @with_options(
        data=Group(task.data),
        choices=Group(task.choices),
        options=Group(TuneOptions, defaults={"study": task.name}),
        settings=training(task, f"runs/tune-{task.name}", *SEARCHED),
    )
    def tune(data: Data, choices: Any, options: TuneOptions, settings: Settings) -> None:
        import optuna
        from optuna.trial import TrialState

        from trident_training.commands import steps
        from trident_training.finetune import processes
        from trident_training.finetune.tuning import COLLAPSED, keep_best, open_study, search
        from trident_training.finetune.tuning_report import write_report

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with reporting("tune"):
            processes.refuse_together("tune")
            loaded = steps.load(task, data)
            begun_with = steps.begun_with(loaded, settings) | task.facts(choices) | {"space": repr(options.space())}
            study = open_study(options.study, settings.output, options.storage, begun_with)

            def train(settings: Settings, callbacks: Sequence[TrainerCallback]) -> Result:
                return steps.train(task, loaded, settings, choices, callbacks)[0]

            try:
                search(study, options.trials, options.space(), settings, train, _print_trial)
            finally:
                write_report(study, settings.output)
                console.print(f"The report: {settings.output / 'report.html'}", soft_wrap=True)
            if not any(trial.state is TrialState.COMPLETE for trial in study.trials):
                raise typer.Exit(1)
            best, kept = study.best_trial, keep_best(study, settings.output)
        where = f"in {kept}" if kept else "on the machine that ran it"
        line = f"best: trial {best.number}, {best.value:.4f}, {_words(best)}, {where}"
        if collapsed := best.user_attrs.get(COLLAPSED):
            refuse(line, collapsed)
            raise typer.Exit(1)
        done(line)

    tune.__doc__ = f"Search for what fine-tunes {task.model} best."
    return tune


def _print_trial(trial: FrozenTrial) -> None:
    from optuna.trial import TrialState

    from trident_training.finetune.tuning import COLLAPSED, FAILURE

    if trial.state is TrialState.COMPLETE:
        line = f"trial {trial.number}: {trial.value:.4f}, {_words(trial)}"
        if collapsed := trial.user_attrs.get(COLLAPSED):
            refuse(line, collapsed)
        else:
            done(line)
    elif trial.state is TrialState.PRUNED:
        console.print(f"[yellow]–[/] trial {trial.number}: behind the others, stopped, {_words(trial)}", soft_wrap=True)
    else:
        failure = escape(trial.user_attrs.get(FAILURE, "its process died"))
        console.print(f"[red]✗[/] trial {trial.number}: {failure}, {_words(trial)}", soft_wrap=True)


def _words(trial: FrozenTrial) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in trial.params.items())
