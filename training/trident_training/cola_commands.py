"""What ``trident-train``'s commands on CoLA say and do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape
from rich.table import Table
from transformers import TrainerCallback
from trident_client import TridentError

from trident_training.checkpoints.adapters import WEIGHTS, save_adapter
from trident_training.checkpoints.bundled import location
from trident_training.checkpoints.loading import load_classifier, load_config, load_tokenizer
from trident_training.checkpoints.precision import Precision
from trident_training.commands import console, export_model, refuse, reporting, tell_soup
from trident_training.data.cola import AcceptabilityData, load_cola, load_rows
from trident_training.data.problems import listing
from trident_training.evaluation import checkpoint_judge, evaluate_acceptability, model_judge, server_judge
from trident_training.finetune.acceptability import LABELS, check_labels, prepare
from trident_training.finetune.run import RESULT, Result, finetune
from trident_training.finetune.settings import Settings
from trident_training.finetune.soup import write_soup
from trident_training.gate import acceptability_gate
from trident_training.metrics import MatthewsCorrelation
from trident_training.repository import COLA

TEST_METRICS = "test_metrics.json"


def finetune_cola(source: str, validation_fraction: float, split_seed: int, settings: Settings) -> None:
    """Fine-tune one model; score its best epoch on the source's own validation set where that was kept apart.

    Exits with 1 when data, model or settings are refused, or the model collapsed.
    """
    with reporting("finetune"):
        data = load(source, validation_fraction, split_seed)
        result = train(data, settings)
    _show_result(settings.model, result)
    if result.collapsed:
        raise typer.Exit(1)
    report_test(data, result.best, settings.max_length)


def intermediate(
    source: str, validation_fraction: float, split_seed: int, texts: list[Path], examples: int, settings: Settings
) -> None:
    """Train on made sentences; exits with 1 when data, text, model or settings are refused, or the model collapsed."""
    from trident_training.intermediate import stage

    with reporting("intermediate"):
        data = load(source, validation_fraction, split_seed)
        # Made sentences have both labels, whatever the train set has.
        check_labels(data, "validation")
        completed = settings.completed(load_config(settings.model))
        result = finetune(stage.prepare(data, texts, examples, completed), completed)
    _show_result(settings.model, result)
    if result.collapsed:
        raise typer.Exit(1)


def soup(
    checkpoints: list[Path],
    output: Path,
    source: str,
    validation_fraction: float,
    split_seed: int,
    max_length: int,
    uniform: bool,
) -> None:
    """Average fine-tuned classifiers; exits with 1 when data or checkpoints are refused."""
    with reporting("soup", OSError):
        data = load(source, validation_fraction, split_seed)
        models = [load_classifier(str(each), LABELS, max_length, fine_tuned=True).eval() for each in checkpoints]
        tokenizer = load_tokenizer(str(checkpoints[0]))
        judge, rows = model_judge(models[0], tokenizer, max_length), data.splits["validation"]
        primary = MatthewsCorrelation.primary
        taken, found = write_soup(
            checkpoints,
            models,
            tokenizer,
            output,
            lambda: evaluate_acceptability(judge, rows),
            primary,
            uniform=uniform,
        )
    tell_soup(primary, found, taken)
    report_test(data, output, max_length)


def evaluate_cola(checkpoint: str | None, server: str | None, protocol: str, source: str, max_length: int) -> None:
    """Score a checkpoint or a running server; exits with 1 when data, checkpoint or server cannot be had."""
    with reporting("evaluate", TridentError):
        if (checkpoint is None) == (server is None):
            raise ValueError("give either a checkpoint or a server's address")
        rows = load_rows(source)
        judge = checkpoint_judge(checkpoint, max_length) if checkpoint else server_judge(str(server), protocol)
        _show_metrics(evaluate_acceptability(judge, rows), len(rows))


def export_cola(
    checkpoint: str | None,
    name: str,
    max_tokens: int | None,
    repository: Path,
    precision: Precision,
    source: str | None,
    validation_fraction: float,
    split_seed: int,
    replace: bool,
) -> None:
    """Export a classifier unless it scores worse than the served one; exits with 1 when it is refused."""
    with reporting("export"):
        rows = load(source, validation_fraction, split_seed).splits["validation"] if source else None
    gate = None if replace else lambda target: acceptability_gate(target, rows)
    export_model(COLA, checkpoint, name, max_tokens, repository, precision, gate)


def write_adapter(checkpoint: Path, base: str, output: Path) -> None:
    """Write an adapter and say how large it is; exits with 1 when checkpoint or base cannot be had."""
    with reporting("adapter", OSError):
        files = [checkpoint / file for file in (RESULT, TEST_METRICS)]
        metrics = {file.name: json.loads(file.read_text()) for file in files if file.is_file()}
        save_adapter(checkpoint, location(base), output, metrics)
    size = (output / WEIGHTS).stat().st_size / 2**20
    console.print(f"[green]✓[/] {output / WEIGHTS}: {size:.1f} MiB", soft_wrap=True)


def train(data: AcceptabilityData, settings: Settings, callbacks: Sequence[TrainerCallback] = ()) -> Result:
    """Run one fine-tuning, or go on with it, or return its result."""
    completed = settings.completed(load_config(settings.model))
    return finetune(prepare(data, completed), completed, callbacks)


def load(source: str, validation_fraction: float, split_seed: int) -> AcceptabilityData:
    """Load the data, and say how much there is and what was left out."""
    data = load_cola(source, validation_fraction=validation_fraction, seed=split_seed)
    if data.notes:
        console.print(f"[yellow]{escape(listing(data.notes))}[/]", soft_wrap=True)
    sizes = ", ".join(f"{split} {len(rows)}" for split, rows in data.splits.items())
    console.print(f"{escape(source)}: {sizes} sentences", soft_wrap=True)
    return data


def report_test(data: AcceptabilityData, best: Path, max_length: int) -> None:
    """Say what a checkpoint scores on what the source itself keeps apart, where it does, and note it beside it."""
    if "test" not in data.splits:
        return
    rows = data.splits["test"]
    metrics = evaluate_acceptability(checkpoint_judge(str(best), max_length), rows)
    (best / TEST_METRICS).write_text(json.dumps(metrics, indent=2) + "\n")
    console.print("On the source's own validation set, which nothing was chosen by:")
    _show_metrics(metrics, len(rows))


def _show_result(model: str, result: Result) -> None:
    console.print(
        f"[green]✓[/] {escape(model)}: {result.primary} {result.best_epoch[result.primary]:.3f}, {result.best_name}, "
        f"in {result.best}",
        soft_wrap=True,
    )
    if result.collapsed:
        refuse(model, result.collapsed)


def _show_metrics(metrics: dict[str, Any], sentences: int) -> None:
    table = Table("", "matthews correlation", "accuracy", "sentences")
    for source, each in metrics.get("by_source", {}).items():
        table.add_row(
            escape(source), f"{each['matthews_correlation']:.4f}", f"{each['accuracy']:.4f}", str(each["sentences"])
        )
    table.add_section()
    table.add_row("all", f"{metrics['matthews_correlation']:.4f}", f"{metrics['accuracy']:.4f}", str(sentences))
    console.print(table)
    console.print(f"F1 {metrics['f1']:.4f}, called acceptable {metrics['share_acceptable']:.1%}")
