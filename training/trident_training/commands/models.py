"""``trident-train models``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from trident_client.options import Group, with_options
from trident_server import shipped
from typer import Option

from trident_training.checkpoints.precision import Precision
from trident_training.commands.building import build_model
from trident_training.commands.console import done, reporting
from trident_training.models import State, plan


@dataclass(frozen=True)
class RepositoryOptions:
    """Where to install, and what to compute in."""

    repository: Annotated[
        Path, Option(envvar="TRIDENT_REPOSITORY", help="The Triton model repository to install into.")
    ] = field(default_factory=shipped.default_repository)
    dtype: Annotated[
        Precision,
        Option(
            envvar="TRIDENT_DTYPE",
            help="auto takes what the processor is fast at: bfloat16, or int8; portable is for images: no int8.",
        ),
    ] = Precision.AUTO


@dataclass(frozen=True)
class ChosenModels:
    """Which of the shipped sets are built."""

    models: Annotated[
        str,
        Option(
            envvar="TRIDENT_MODELS",
            help="Sets of models, with commas between, such as cola,sts; all by default. Own ones are left alone.",
        ),
    ] = ""

    def names(self) -> list[str]:
        """Return the sets' names; none for all."""
        return [name for each in self.models.split(",") if (name := each.strip())]


@with_options(options=Group(RepositoryOptions), chosen=Group(ChosenModels))
def models(options: RepositoryOptions, chosen: ChosenModels) -> None:
    """Build the served models that are missing or stale."""
    refused = False
    with reporting("models"):
        shipped.make_copy(options.repository)
        planned = list(plan(options.repository, options.dtype, chosen.names()))
    for recipe, target, state in planned:
        if state in {State.FRESH, State.OWN}:
            done(f"{recipe.name}: {state.value}")
        else:
            refused |= not build_model(recipe, target, options.dtype, state.value)
    if refused:
        raise typer.Exit(1)
