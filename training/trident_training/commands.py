"""What ``trident-train models`` and ``trident-train export`` say and do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape

from trident_training.checkpoints.precision import Precision, resolve
from trident_training.models import SHIPPED, Recipe, State, build, plan
from trident_training.repository import ModelSet, Task

if TYPE_CHECKING:
    from trident_training.calibration import Calibration
    from trident_training.models import Gate

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


@contextmanager
def reporting(command: str, *further: type[Exception]) -> Iterator[None]:
    """Say what a command refuses, or that it was interrupted, in one line; its exit codes are 1 and 130.

    Args:
        command: named in the line.
        further: errors beside ``ValueError`` that a user can mend.
    """
    try:
        yield
    except (ValueError, *further) as error:
        refuse(command, error)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        errors.print("Interrupted. The same command goes on from the last saved step.")
        raise typer.Exit(130) from None


def tell_soup(primary: str, found: Mapping[str, float], taken: Sequence[Path]) -> None:
    """Say what was averaged, and what the average scores on the validation set."""
    names = ", ".join(map(str, taken))
    console.print(f"[green]✓[/] {primary} {found[primary]:.4g} of {len(taken)} in one: {escape(names)}", soft_wrap=True)


def build_models(repository: Path, precision: Precision) -> None:
    """Build the shipped models that are missing or stale, one line each; exit with 1 when one is refused."""
    refused = False
    with reporting("models"):
        planned = list(plan(repository, precision))
    for recipe, target, state in planned:
        if state in {State.FRESH, State.OWN}:
            console.print(f"[green]✓[/] {recipe.name}: {state.value}")
        else:
            refused |= not _build(recipe, target, precision, state.value)
    if refused:
        raise typer.Exit(1)


def export_model(
    task: Task,
    checkpoint: str | None,
    name: str,
    max_tokens: int | None,
    repository: Path,
    precision: Precision,
    gate: Callable[[ModelSet], Gate | None] | None = None,
    calibration: Calibration | None = None,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Export one checkpoint under a name; exit with 1 when it is refused.

    Args:
        task: what it serves.
        checkpoint: path or hub name; None for the one that the project ships for the task.
        name: the task's own, or a variant's, whose folders are written unless it is refused.
        max_tokens: a variant's longest sequence; as the task's own when None.
        repository: the Triton model repository.
        precision: what to compute in.
        gate: given where the model goes, says what looks at it before it is installed.
        calibration: of a task that has one; what stands beside the checkpoint's weights when None.
        facts: what clients are told, in place of what is noted beside the weights.
    """
    recipe = _recipe(task, name, checkpoint)
    with reporting(name):
        target = ModelSet(repository, task, name)
        if target.is_variant:
            target.check_variant()
        elif max_tokens is not None:
            raise ValueError(f"'{task.name}' takes its longest sequence from its config.pbtxt; name a variant (--name)")
    if not _build(recipe, target, precision, "exported anew", gate and gate(target), calibration, facts, max_tokens):
        raise typer.Exit(1)


def _recipe(task: Task, name: str, checkpoint: str | None) -> Recipe:
    if checkpoint is not None:
        return Recipe(name, task, checkpoint, checkpoint)
    if name in SHIPPED and SHIPPED[name].task is task:
        return SHIPPED[name]
    return replace(SHIPPED[task.name], name=name)


def _build(
    recipe: Recipe,
    target: ModelSet,
    precision: Precision,
    why: str,
    gate: Gate | None = None,
    calibration: Calibration | None = None,
    facts: Mapping[str, Any] | None = None,
    max_tokens: int | None = None,
) -> bool:
    # Here and not above: a second is what finding every model fresh may take in all.
    from trident_training.checkpoints.loading import quiet

    start = time.monotonic()
    with quiet(), console.status(f"{recipe.name}: {why}; comparing the export with the plain model ..."):
        try:
            report = build(recipe, target, resolve(precision), gate, calibration, facts, max_tokens)
        except (ValueError, OSError) as error:
            refuse(recipe.name, error)
            return False
    console.print(f"[green]✓[/] {recipe.name}: {_summary(report)}, {time.monotonic() - start:.0f} s", soft_wrap=True)
    if report["padded_because"]:
        console.print(f"  [yellow]padded[/], because {escape(report['padded_because'])}", soft_wrap=True)
    return True


def _summary(report: dict[str, Any]) -> str:
    parity = report["parity"]
    return (
        f"built from {escape(report['source'])} in {report['dtype']}; against the plain float32 model over "
        f"{parity['sequences']} sequences: largest difference {parity['largest_difference']:.1e}, "
        f"smallest cosine {parity['smallest_cosine']:.6f}"
    )


def refuse(name: str, error: Exception | str) -> None:
    """Say why something is not done."""
    errors.print(f"[red]✗[/] {name}: {escape(str(error))}", soft_wrap=True)
