"""``trident-train``: the table of its commands. What a command does lives in a module of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trident_training.export.precision import Precision

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Train, evaluate and export Trident's models.")
export_app = typer.Typer(no_args_is_help=True, help="Export a checkpoint into the model repository.")
app.add_typer(export_app, name="export")

Repository = Annotated[
    Path, typer.Option(envvar="TRIDENT_REPOSITORY", help="The Triton model repository to install into.")
]
Dtype = Annotated[
    Precision,
    typer.Option(envvar="TRIDENT_DTYPE", help="auto computes in bfloat16 where the processor is fast at it."),
]


@app.command()
def models(repository: Repository = Path("model_repository"), dtype: Dtype = Precision.AUTO) -> None:
    """Build the served models that are missing or stale."""
    from trident_training.commands import build_models

    build_models(repository, dtype)


@export_app.command("sts")
def export_sts(
    checkpoint: Annotated[str | None, typer.Option(help="Path or hub name; the bundled encoder by default.")] = None,
    name: Annotated[str, typer.Option(help="Another name makes a variant beside the first.")] = "sts",
    max_tokens: Annotated[int | None, typer.Option(min=2, help="A variant's longest sequence.")] = None,
    repository: Repository = Path("model_repository"),
    dtype: Dtype = Precision.AUTO,
) -> None:
    """Export a sentence encoder: mean pooling and unit norm inside, no padding computed."""
    from trident_training.commands import export_model
    from trident_training.repository import STS

    export_model(STS, checkpoint, name, max_tokens, repository, dtype)


def main() -> None:
    """Run the command line."""
    app()
