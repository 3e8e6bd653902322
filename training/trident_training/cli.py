"""``trident-train``: the command line of the training side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from trident_training import models

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode="markdown")
console = Console(stderr=True, highlight=False, soft_wrap=True)

Repository = Annotated[Path, typer.Option(envvar="TRIDENT_REPOSITORY", help="The model repository to build into.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16; auto chooses for this processor.")]


@app.callback()
def trident_train() -> None:
    """Fine-tune, evaluate and export the models that Triton serves."""


@app.command("models")
def build_models(repository: Repository = Path("model_repository"), dtype: Dtype = "auto") -> None:
    """Build what is missing or stale in the model repository, and nothing else."""
    wanted = models.digest(str(models.get_model_path()), models.choose_dtype(dtype))
    for served in models.SERVED:
        if models.is_fresh(served, repository, wanted):
            console.print(f"{served.model}: up to date")
        else:
            _export(served.task, repository, None, dtype)


@app.command()
def export(
    task: Annotated[str, typer.Argument(help="sts")],
    base: Annotated[
        str | None, typer.Option(help="Hub name or local path; the bundled encoder when not given.")
    ] = None,
    repository: Repository = Path("model_repository"),
    dtype: Dtype = "auto",
) -> None:
    """Export a task's encoder to TorchScript and install it, if it answers as the plain Hugging Face model does."""
    if task not in {served.task for served in models.SERVED}:
        raise typer.BadParameter(f"'{task}' is not one of {', '.join(served.task for served in models.SERVED)}")
    _export(task, repository, base, dtype)


def _export(task: str, repository: Path, base: str | None, dtype: str) -> None:
    with console.status(f"Exporting {task} and comparing it with the plain model ..."):
        try:
            record = models.build(task, repository, base, dtype)
        except (ValueError, OSError) as error:
            console.print(f"{task}: {error}", style="red", markup=False)
            raise typer.Exit(1) from error
    parity = record["parity"]
    console.print(
        f"{task}: installed in {parity['dtype']}; over {parity['sequences']} sequences the largest difference from "
        f"float32 is {parity['largest_difference']:.2g}, the smallest cosine {parity['smallest_cosine']:.6f}"
    )


def main() -> None:
    """Entry point of ``trident-train``."""
    app()
