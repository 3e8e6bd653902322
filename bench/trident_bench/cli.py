"""The command line ``trident-bench``."""

from __future__ import annotations

import os

import typer

from trident_bench.compare.command import compare
from trident_bench.load.command import load
from trident_bench.mixed import mixed
from trident_bench.profiling.command import profile
from trident_bench.tuning.command import tune

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich")


@app.callback()
def bench() -> None:
    """Measure Trident on this machine, which should have nothing else to do."""
    # Pictures are files. A notebook names a backend to all that it starts, which matplotlib may not find here.
    os.environ["MPLBACKEND"] = "agg"


app.command("compare")(compare)
app.command()(load)
app.command()(mixed)
app.command()(profile)
app.command()(tune)


def main() -> None:
    """Run ``trident-bench``."""
    app()
