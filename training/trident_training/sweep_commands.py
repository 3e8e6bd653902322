"""What ``trident-train sweep`` says and does, for every task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import typer
from rich.markdown import Markdown
from rich.markup import escape

from trident_training import cola_commands, sts_commands
from trident_training.commands import console, refuse, reporting
from trident_training.finetune.choices import PairSettings
from trident_training.finetune.run import BEST, Result
from trident_training.finetune.settings import Settings
from trident_training.finetune.sweep import PRESETS, Entry, best_of, markdown, sweep, write_reports


def cola(
    models: str, preset: str, source: str, validation_fraction: float, split_seed: int, settings: Settings
) -> None:
    """Fine-tune several models, show and save their table and keep the best; exits with 1 when every one failed."""
    with reporting("sweep"):
        named = _named(models, preset)
        data = cola_commands.load(source, validation_fraction, split_seed)

        def candidate(model: str) -> Callable[[Path], Result]:
            return lambda folder: cola_commands.train(data, replace(settings, model=model, output=folder))

        _compare({model: candidate(model) for model in named}, settings.output)
    cola_commands.report_test(data, settings.output / BEST, settings.max_length)


def sts(
    models: str,
    preset: str,
    heads: Mapping[str, PairSettings],
    sources: Sequence[str],
    validation_fraction: float,
    split_seed: int,
    languages: Sequence[str],
    settings: Settings,
) -> None:
    """Fine-tune several models under each of several heads; otherwise as :func:`cola`."""
    with reporting("sweep"):
        named = _named(models, preset)
        data = sts_commands.load(sources, validation_fraction, split_seed)

        def candidate(model: str, head: str) -> Callable[[Path], Result]:
            return lambda folder: sts_commands.train(
                data, replace(settings, model=model, output=folder), heads[head], languages
            )

        candidates = {f"{model} {head}": candidate(model, head) for model in named for head in heads}
        _compare(candidates, settings.output)
    sts_commands.report(data, settings.output / BEST, settings.max_length)


def _named(models: str, preset: str) -> list[str]:
    """Return the models that are asked for by name and by preset.

    Raises:
        ValueError: none is.
    """
    named = [name.strip() for name in models.split(",") if name.strip()] + list(PRESETS.get(preset, ()))
    if not named:
        raise ValueError(f"give models, or a preset: {', '.join(PRESETS)}")
    return named


def _compare(candidates: Mapping[str, Callable[[Path], Result]], output: Path) -> None:
    """Run a sweep and write its reports; exits with 1 when every candidate failed."""

    def tell(entry: Entry) -> None:
        if entry.result is None:
            refuse(entry.name, str(entry.failure))
            return
        best = entry.result
        score = best.best_epoch[best.primary]
        console.print(
            f"[green]✓[/] {escape(entry.name)}: {best.primary} {score:.3f}, {best.best_name}, in {best.best}",
            soft_wrap=True,
        )
        if best.collapsed:
            refuse(entry.name, best.collapsed)

    entries = sweep(candidates, output, tell)
    write_reports(entries, output)
    console.print(Markdown(markdown(entries)))
    best = best_of(entries)
    if best is None:
        raise typer.Exit(1)
    console.print(f"[green]✓[/] best: {escape(best.name)}, in {output / BEST}", soft_wrap=True)
