"""What ``trident-train tune`` says and does, for every task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import optuna
import typer
from optuna.trial import FrozenTrial, TrialState
from rich.markup import escape
from transformers import TrainerCallback

from trident_training import cola_commands, qa_commands, sts_commands
from trident_training.commands import console, reporting
from trident_training.data.cola import AcceptabilityData
from trident_training.data.similarity import SimilarityData
from trident_training.data.squad import QuestionData
from trident_training.finetune.choices import PairSettings, Space
from trident_training.finetune.run import Result
from trident_training.finetune.settings import Settings
from trident_training.finetune.tuning import Train, keep_best, open_study, search
from trident_training.finetune.tuning_report import write_report


def tune(
    task: Callable[[], tuple[Train, dict[str, Any]]],
    name: str,
    trials: int,
    storage: str | None,
    space: Space,
    settings: Settings,
) -> None:
    """Search until the study has enough trials; write its report and its best model.

    Exits with 1 when data, model or settings are refused, or no trial was completed, and with 130 when interrupted.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with reporting("tune"):
        train, facts = task()
        study = open_study(name, settings.output, storage, settings.as_dict() | facts | {"space": repr(space)})
        try:
            search(study, trials, space, settings, train, _tell)
        finally:
            write_report(study, settings.output)
            console.print(f"The report: {settings.output / 'report.html'}", soft_wrap=True)
    if not any(trial.state is TrialState.COMPLETE for trial in study.trials):
        raise typer.Exit(1)
    best, kept = study.best_trial, keep_best(study, settings.output)
    where = f"in {kept}" if kept else "on the machine that ran it"
    console.print(f"[green]✓[/] best: trial {best.number}, {best.value:.4f}, {_words(best)}, {where}", soft_wrap=True)


def cola(source: str, validation_fraction: float, split_seed: int) -> tuple[Train, dict[str, Any]]:
    """Return CoLA's training."""
    data = cola_commands.load(source, validation_fraction, split_seed)

    def train(settings: Settings, callbacks: Sequence[TrainerCallback]) -> Result:
        return cola_commands.train(data, settings, callbacks)

    return train, _digests(data)


def qa(
    sources: list[str],
    unambiguous: bool,
    questions: int | None,
    validation_fraction: float,
    split_seed: int,
    doc_stride: int,
) -> tuple[Train, dict[str, Any]]:
    """Return question answering's training."""
    data = qa_commands.load(sources, unambiguous, questions, validation_fraction, split_seed)

    def train(settings: Settings, callbacks: Sequence[TrainerCallback]) -> Result:
        return qa_commands.train(data, settings, doc_stride, callbacks)

    return train, _digests(data) | {"doc_stride": doc_stride}


def sts(
    sources: list[str], validation_fraction: float, split_seed: int, languages: list[str], choices: PairSettings
) -> tuple[Train, dict[str, Any]]:
    """Return similarity's training."""
    data = sts_commands.load(sources, validation_fraction, split_seed)

    def train(settings: Settings, callbacks: Sequence[TrainerCallback]) -> Result:
        return sts_commands.train(data, settings, choices, languages, callbacks)

    return train, _digests(data) | {"choices": repr(choices)}


def _digests(data: AcceptabilityData | QuestionData | SimilarityData) -> dict[str, Any]:
    return {f"{split}_data": data.digest(split) for split in ("train", "validation")}


def _tell(trial: FrozenTrial) -> None:
    if trial.state is TrialState.COMPLETE:
        console.print(f"[green]✓[/] trial {trial.number}: {trial.value:.4f}, {_words(trial)}", soft_wrap=True)
    elif trial.state is TrialState.PRUNED:
        console.print(f"[yellow]–[/] trial {trial.number}: behind the others, stopped, {_words(trial)}", soft_wrap=True)
    else:
        failure = escape(trial.user_attrs.get("failure", "failed"))
        console.print(f"[red]✗[/] trial {trial.number}: {failure}, {_words(trial)}", soft_wrap=True)


def _words(trial: FrozenTrial) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in trial.params.items())
