"""What ``trident-train``'s commands on sentence similarity say and do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import typer
from rich.markup import escape
from rich.table import Table
from transformers import AutoModel, TrainerCallback
from trident_client import TridentError

from trident_training.cards import SimilarityCard
from trident_training.checkpoints.loading import load_config, load_model, load_tokenizer
from trident_training.checkpoints.pooling import pooling_of
from trident_training.checkpoints.vocabulary import learn_vocabulary, with_vocabulary
from trident_training.cola_commands import TEST_METRICS
from trident_training.commands import console, refuse, reporting
from trident_training.comparing import checkpoint_comparer, evaluate_similarity, overlap, server_comparer
from trident_training.data.problems import listing
from trident_training.data.similarity import SIMILAR, SimilarityData, load_pairs, load_rows, load_translations
from trident_training.export.encoders import most_tokens
from trident_training.finetune import distillation
from trident_training.finetune.choices import Kind, PairSettings
from trident_training.finetune.plots import plot_similarity
from trident_training.finetune.run import Result, finetune
from trident_training.finetune.settings import Settings
from trident_training.finetune.similarity import prepare, score

SIMILARITIES = "similarity.png"
COLUMNS = ("spearman", "pearson", "f1", "accuracy", "threshold")


def finetune_sts(
    sources: list[str],
    validation_fraction: float,
    split_seed: int,
    languages: list[str],
    choices: PairSettings,
    settings: Settings,
) -> None:
    """Fine-tune one model; find its threshold on the validation set, and report what the first source kept apart.

    Exits with 1 when data, model or settings are refused, or the model collapsed.
    """
    with reporting("finetune"):
        data = load(sources, validation_fraction, split_seed)
        result = train(data, settings, choices, languages)
    _show_result(f"{settings.model}, {choices.kind}: {result.primary}", result)
    report(data, result.best, settings.max_length)


def new_vocabulary(
    sources: list[str], base: str, size: int, validation_fraction: float, split_seed: int, output: Path
) -> None:
    """Learn a vocabulary and write an encoder that has it; exits with 1 when data or encoder are refused."""
    with reporting("vocabulary"):
        data = load(sources, validation_fraction, split_seed)
        train = data.splits["train"]
        encoder = load_model(AutoModel, base, load_config(base), max_length=1)
        texts = [*train["sentence_1"], *train["sentence_2"]]
        tokenizer = learn_vocabulary(texts, size, most_tokens(encoder))
        known = with_vocabulary(encoder, load_tokenizer(base), tokenizer, seed=split_seed)
        encoder.save_pretrained(output)
        tokenizer.save_pretrained(output)
    console.print(
        f"[green]✓[/] {output}: {len(tokenizer)} tokens, {known} of which {escape(base)} knew", soft_wrap=True
    )


def distill(original: str, translation: str, teacher: str, settings: Settings) -> None:
    """Teach one encoder; exits with 1 when data or models are refused, or the student collapsed."""
    with reporting("distill"):
        translations = load_translations(original, translation)
        completed = settings.completed(load_config(settings.model))
        result = finetune(distillation.prepare(translations, teacher, completed), completed)
    _show_result(f"{settings.model}: mean cosine with {teacher}", result)


def evaluate_sts(
    checkpoint: str | None,
    server: str | None,
    protocol: str,
    model: str,
    source: str,
    validation_fraction: float,
    split_seed: int,
    threshold: float | None,
    max_length: int,
) -> None:
    """Score a checkpoint or a running server beside the overlap of characters; exits with 1 when one cannot be had."""
    with reporting("evaluate", TridentError):
        if (checkpoint is None) == (server is None):
            raise ValueError("give either a checkpoint or a server's address")
        rows = load_rows(source, validation_fraction=validation_fraction, seed=split_seed)
        if checkpoint:
            comparer, card = checkpoint_comparer(checkpoint, max_length)
        else:
            comparer, card = server_comparer(str(server), protocol, model)
        chosen = card.threshold if threshold is None else threshold
        found = {
            checkpoint or f"{server} {model}": evaluate_similarity(comparer, rows, chosen),
            "overlap of characters": evaluate_similarity(overlap, rows, None),
        }
    _show_metrics(found, f"{len(rows)} pairs")
    if chosen is None:
        console.print("The thresholds are the best ones on these very pairs.")


def train(
    data: SimilarityData,
    settings: Settings,
    choices: PairSettings,
    languages: Sequence[str] = (),
    callbacks: Sequence[TrainerCallback] = (),
) -> Result:
    """Run one fine-tuning, or go on with it, or return its result; its threshold is found on the validation set."""
    completed = settings.completed(load_config(settings.model))
    result = finetune(prepare(data, completed, choices), completed, callbacks)
    pooling = pooling_of(str(result.best)) if choices.kind is Kind.BI_ENCODER else None
    SimilarityCard(choices.kind, pooling).write(result.best)
    comparer, card = checkpoint_comparer(str(result.best), settings.max_length)
    validation = data.splits["validation"]
    scores = comparer(validation)
    metrics = score(scores, validation)
    threshold = metrics.pop("threshold")
    rounded = {name: round(value, 4) for name, value in metrics.items()}
    replace(card, threshold=threshold, languages=tuple(languages), metrics=rounded).write(result.best)
    picture = result.best.parent / SIMILARITIES
    plot_similarity(scores, np.array(validation["score"]), threshold, SIMILAR, picture)
    return result


def report(data: SimilarityData, best: Path, max_length: int) -> None:
    """Say what a checkpoint and the overlap of characters score on what it was chosen by, and on what was kept apart.

    The latter is noted beside it.
    """
    comparer, card = checkpoint_comparer(str(best), max_length)
    found = {}
    for split in ("validation", "test"):
        if split in data.splits:
            rows = data.splits[split]
            found[f"{split}, {len(rows)} pairs"] = evaluate_similarity(comparer, rows, card.threshold)
            found[f"{split}, overlap of characters"] = evaluate_similarity(overlap, rows, None)
    if "test" in data.splits:
        kept_apart = found[f"test, {len(data.splits['test'])} pairs"]
        (best / TEST_METRICS).write_text(json.dumps(kept_apart, indent=2) + "\n")
    _show_metrics(found)


def load(sources: Sequence[str], validation_fraction: float, split_seed: int) -> SimilarityData:
    """Load the data, and say how much there is and what was left out."""
    data = load_pairs(sources, validation_fraction=validation_fraction, seed=split_seed)
    if data.notes:
        console.print(f"[yellow]{escape(listing(data.notes))}[/]", soft_wrap=True)
    sizes = ", ".join(f"{split} {len(rows)}" for split, rows in data.splits.items())
    console.print(f"{escape(', '.join(sources))}: {sizes} pairs", soft_wrap=True)
    return data


def _show_result(what: str, result: Result) -> None:
    """Say what the best epoch scored; exits with 1 when it is a collapsed model."""
    score = result.best_epoch[result.primary]
    console.print(f"[green]✓[/] {escape(what)} {score:.4f}, {result.best_name}, in {result.best}", soft_wrap=True)
    if result.collapsed:
        refuse(result.settings["model"], result.collapsed)
        raise typer.Exit(1)


def _show_metrics(found: dict[str, dict[str, float]], of: str = "") -> None:
    table = Table(of, *COLUMNS)
    for name, metrics in found.items():
        table.add_row(escape(name), *(f"{metrics[column]:.4f}" for column in COLUMNS))
    console.print(table)
