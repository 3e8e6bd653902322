"""Builds one served model, and says what came of it; for ``models`` and ``export``."""

from __future__ import annotations

import time
from typing import Any

from rich.markup import escape

from trident_training.checkpoints.precision import Precision
from trident_training.commands.console import console, done, reason_of, refuse
from trident_training.finetune.folder import is_for_want_of_room
from trident_training.models import Gate, Recipe, build
from trident_training.repository import ModelSet


def build_model(
    recipe: Recipe,
    target: ModelSet,
    precision: Precision,
    why: str,
    gate: Gate | None = None,
    overrides: Any = None,
    max_tokens: int | None = None,
) -> bool:
    """Build a model, and say how close it is to the plain one, or why it is refused; returns whether it was built.

    Args:
        recipe: what to make it from.
        target: where to install it.
        precision: what to compute in.
        why: it is built.
        gate: as :func:`trident_training.models.build` takes it, and the same for those that follow.
        overrides: the same.
        max_tokens: the same.
    """
    # Here and not above: a second is what finding every model fresh may take in all.
    from trident_training.checkpoints.loading import quiet

    start = time.monotonic()
    with quiet(), console.status(f"{recipe.name}: {why}; comparing the export with the plain model ..."):
        try:
            report = build(recipe, target, precision, gate, overrides, max_tokens)
        except Exception as error:
            if not isinstance(error, (ValueError, OSError)) and not is_for_want_of_room(error):
                raise
            refuse(recipe.name, reason_of(error))
            return False
    done(f"{recipe.name}: {_summary(report)}, {time.monotonic() - start:.0f} s")
    if report["refused"]:
        console.print(f"  [yellow]{report['dtype']}[/], because {escape(report['refused'])}", soft_wrap=True)
    if report["padded_because"]:
        console.print(f"  [yellow]padded[/], because {escape(report['padded_because'])}", soft_wrap=True)
    return True


def _summary(report: dict[str, Any]) -> str:
    parity, speed = report["parity_on_text"] or report["parity"], report["speed"]
    over = "texts" if report["parity_on_text"] else "sequences"
    return (
        f"built from {escape(report['source'])} in {report['dtype']}; against the plain float32 model over "
        f"{parity['sequences']} {over}: largest difference {parity['largest_difference']:.1e}, "
        f"mean cosine {parity['mean_cosine']:.6f}; {speed['tokens_per_second']:,} tokens a second "
        f"on {speed['threads']} thread{'s'[: speed['threads'] != 1]}"
    )
