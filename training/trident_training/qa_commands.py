"""What ``trident-train``'s commands on question answering say and do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape
from rich.table import Table
from transformers import TrainerCallback
from trident_client import TridentError

from trident_training import calibration
from trident_training.answering import (
    CheckpointReader,
    calibrate,
    checkpoint_answerer,
    evaluate_answers,
    server_answerer,
)
from trident_training.calibration import Calibration
from trident_training.checkpoints.loading import load_config
from trident_training.checkpoints.precision import Precision
from trident_training.cola_commands import TEST_METRICS
from trident_training.commands import console, export_model, refuse, reporting, tell_soup
from trident_training.data.problems import listing
from trident_training.data.squad import QuestionData, load_questions, load_rows
from trident_training.finetune.question_answering import best_texts, may_be_unanswerable, prepare, score
from trident_training.finetune.run import RESULT, Result, finetune
from trident_training.finetune.settings import Settings
from trident_training.finetune.soup import write_soup
from trident_training.metrics.question_answering import SquadScore
from trident_training.repository import QA


def finetune_qa(
    sources: list[str],
    unambiguous: bool,
    most_questions: int | None,
    validation_fraction: float,
    split_seed: int,
    doc_stride: int,
    settings: Settings,
) -> None:
    """Fine-tune one reader, calibrate its scores on the validation set, and report what the sources kept apart.

    Exits with 1 when data, model or settings are refused, or the model collapsed.
    """
    with reporting("finetune"):
        data = load(sources, unambiguous, most_questions, validation_fraction, split_seed)
        result = train(data, settings, doc_stride)
    _show_result(settings.model, result)
    if result.collapsed:
        raise typer.Exit(1)
    _calibrate(data, result.best, settings.max_length, doc_stride)


def load(
    sources: list[str], unambiguous: bool, most_questions: int | None, validation_fraction: float, split_seed: int
) -> QuestionData:
    """Load the data, and say how much there is and what was left out."""
    data = load_questions(
        sources,
        validation_fraction=validation_fraction,
        seed=split_seed,
        unambiguous=unambiguous,
        most_questions=most_questions,
    )
    _show_data(sources, data)
    return data


def train(data: QuestionData, settings: Settings, doc_stride: int, callbacks: Sequence[TrainerCallback] = ()) -> Result:
    """Run one fine-tuning, or go on with it, or return its result."""
    completed = settings.completed(load_config(settings.model))
    return finetune(prepare(data, completed, doc_stride), completed, callbacks)


def soup(
    checkpoints: list[Path],
    output: Path,
    sources: list[str],
    validation_fraction: float,
    split_seed: int,
    max_length: int,
    doc_stride: int,
    uniform: bool,
) -> None:
    """Average fine-tuned readers and calibrate the average; exits with 1 when data or checkpoints are refused."""
    with reporting("soup", OSError):
        data = load(sources, False, None, validation_fraction, split_seed)
        questions = list(data.splits["validation"])
        readers = [CheckpointReader(str(each), max_length, doc_stride) for each in checkpoints]
        first, plain = readers[0], Calibration(may_be_unanswerable=may_be_unanswerable(data))
        taken, found = write_soup(
            checkpoints,
            [each.model for each in readers],
            first.tokenizer,
            output,
            lambda: score(best_texts(questions, first.read(questions)(plain)), questions),
            SquadScore.primary,
            uniform=uniform,
        )
    tell_soup(SquadScore.primary, found, taken)
    _calibrate(data, output, max_length, doc_stride)


def evaluate_qa(
    checkpoint: str | None,
    server: str | None,
    protocol: str,
    model: str,
    source: str,
    validation_fraction: float,
    split_seed: int,
    metric: str,
    limit: int | None,
    max_length: int,
    doc_stride: int,
    strip: str,
    longest_answer: int | None,
) -> None:
    """Score a checkpoint or a running server; exits with 1 when data, checkpoint or server cannot be had."""
    with reporting("evaluate", TridentError):
        if (checkpoint is None) == (server is None):
            raise ValueError("give either a checkpoint or a server's address")
        questions = list(load_rows(source, validation_fraction=validation_fraction, seed=split_seed))[:limit]
        if checkpoint:
            calibrated = Calibration.beside(Path(checkpoint))
            options = {"strip": strip.split(), "longest_answer": longest_answer}
            answerer = checkpoint_answerer(checkpoint, calibrated, max_length, doc_stride, **options)
        else:
            answerer = server_answerer(str(server), protocol, model)
        _show_metrics(evaluate_answers(answerer, questions, metric), len(questions))


def export_qa(
    checkpoint: str | None,
    name: str,
    max_tokens: int | None,
    repository: Path,
    precision: Precision,
    temperature: float | None,
    unanswerable: bool | None,
) -> None:
    """Export a reader with its calibration; exits with 1 when it is refused."""
    with reporting("export"):
        chosen = None
        if temperature is not None or unanswerable is not None:
            beside = Calibration.beside(Path(checkpoint)) if checkpoint else Calibration()
            given: dict[str, Any] = {"temperature": temperature, "may_be_unanswerable": unanswerable}
            chosen = replace(beside, **{name: value for name, value in given.items() if value is not None})
    export_model(QA, checkpoint, name, max_tokens, repository, precision, calibration=chosen)


def _calibrate(data: QuestionData, checkpoint: Path, max_length: int, doc_stride: int) -> None:
    questions = list(data.splits["validation"])
    spans = CheckpointReader(str(checkpoint), max_length, doc_stride).read(questions)
    found, scores = calibrate(spans, questions, may_be_unanswerable(data))
    (checkpoint / calibration.FILE).write_text(found.to_json())
    # What is told of the checkpoint is what it answers so.
    result = json.loads((checkpoint / RESULT).read_text())
    result["best_epoch"] |= scores
    (checkpoint / RESULT).write_text(json.dumps(result, indent=2) + "\n")
    console.print(
        f"Answers are best with a length penalty of {found.length_penalty:g}, and scores probabilities at temperature "
        f"{found.temperature:g}: F1 {scores['f1']:.1f}, exact match {scores['exact_match']:.1f}.",
        soft_wrap=True,
    )
    if "test" in data.splits:
        kept_apart = list(data.splits["test"])
        answerer = checkpoint_answerer(str(checkpoint), found, max_length, doc_stride)
        metrics = evaluate_answers(answerer, kept_apart, "squad")
        (checkpoint / TEST_METRICS).write_text(json.dumps(metrics, indent=2) + "\n")
        console.print("On the sources' own validation sets, which nothing was chosen by:")
        _show_metrics(metrics, len(kept_apart))


def _show_data(sources: Sequence[str], data: QuestionData) -> None:
    if data.notes:
        console.print(f"[yellow]{escape(listing(data.notes))}[/]", soft_wrap=True)
    console.print(", ".join(f"{number} answers {how}" for how, number in data.offsets.items()), soft_wrap=True)
    sizes = ", ".join(f"{split} {len(rows)}" for split, rows in data.splits.items())
    console.print(f"{escape(', '.join(sources))}: {sizes} questions", soft_wrap=True)


def _show_result(model: str, result: Result) -> None:
    best = result.best_epoch
    console.print(
        f"[green]✓[/] {escape(model)}: F1 {best['f1']:.1f}, exact match {best['exact_match']:.1f}, {result.best_name}, "
        f"in {result.best}",
        soft_wrap=True,
    )
    if result.collapsed:
        refuse(model, result.collapsed)


def _show_metrics(metrics: dict[str, Any], questions: int) -> None:
    table = Table("questions", "F1", "exact match", "edit distance", "calibration error")
    table.add_row(
        str(questions),
        f"{metrics['f1']:.2f}",
        f"{metrics['exact_match']:.2f}",
        f"{metrics['edit_distance']:.2f}",
        f"{metrics['calibration_error']:.3f}",
    )
    console.print(table)
