"""``trident-train models``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from trident_training.checkpoints.precision import Precision
from trident_training.commands.building import build_model
from trident_training.commands.console import done, reporting
from trident_training.commands.options import Group, with_options
from trident_training.models import State, plan


@dataclass(frozen=True)
class RepositoryOptions:
    """Where to install, and what to compute in."""

    repository: Annotated[
        Path, Option(envvar="TRIDENT_REPOSITORY", help="The Triton model repository to install into.")
    ] = Path("model_repository")
    dtype: Annotated[
        Precision,
        Option(envvar="TRIDENT_DTYPE", help="auto computes in bfloat16 where the processor is fast at it."),
    ] = Precision.AUTO


@with_options(options=Group(RepositoryOptions))
def models(options: RepositoryOptions) -> None:
    """Build the served models that are missing or stale."""
    refused = False
    with reporting("models"):
        planned = list(plan(options.repository, options.dtype))
    for recipe, target, state in planned:
        if state in {State.FRESH, State.OWN}:
            done(f"{recipe.name}: {state.value}")
        else:
            refused |= not build_model(recipe, target, options.dtype, state.value)
    if refused:
        raise typer.Exit(1)
