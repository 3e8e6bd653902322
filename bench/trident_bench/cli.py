"""The command line ``trident-bench``."""

from __future__ import annotations

import typer

from trident_bench.compare.command import compare

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich")


@app.callback()
def bench() -> None:
    """Measure Trident on this machine, which should have nothing else to do."""


app.command("compare")(compare)


def main() -> None:
    """Run ``trident-bench``."""
    app()
