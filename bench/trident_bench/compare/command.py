"""``trident-bench compare``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from trident_server.errors import ServerError
from trident_server.repository import check_repository

from trident_bench.compare import contenders, cost, ratios, report
from trident_bench.compare.inputs import prepare, write_checkpoint
from trident_bench.compare.processes import Contender, LoopProcess
from trident_bench.compare.rounds import Results, Rounds
from trident_bench.compare.rows import Row
from trident_bench.generator.loop import TURNS

SENTENCES, WINDOWS = 512, 64
QUICK_SENTENCES, QUICK_WINDOWS = 128, 16
QUICK_SECONDS, QUICK_ROUNDS = 0.5, 2
SWEEP_SECONDS, QUICK_SWEEP_SECONDS = 0.3, 0.05
PADDED_TOGETHER = 32
LOG_WIDTH = 130


def compare(
    out: Annotated[Path, typer.Option(help="Tables, JSON and pictures are written into this folder.")] = Path(
        "bench/results/compare"
    ),
    repository: Annotated[
        Path, typer.Option(envvar="TRIDENT_REPOSITORY", help="The built Triton model repository.")
    ] = Path("model_repository"),
    only: Annotated[
        list[str] | None,
        typer.Option(help="Measure this row (ensemble-grpc-64) or contender (infinity) alone; repeatable."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Everybody is measured once a round.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.1, help="Each measurement takes so long.")] = 5.0,
    quick: Annotated[bool, typer.Option(help="Half a second each, two rounds: to see that it works.")] = False,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Everybody computes with so many; as many as there are cores if not given."),
    ] = None,
    config_name: Annotated[
        str | None, typer.Option(help="Triton serves configs/<name>.pbtxt where a model has it.")
    ] = None,
    peers: Annotated[Path, typer.Option(help="The peers' environments are made in this folder.")] = Path(
        ".trident/peers"
    ),
    torch_index_url: Annotated[
        str | None,
        typer.Option(envvar="TORCH_INDEX_URL", help="A further package index for the peers' torch, the CPU build."),
    ] = None,
) -> None:
    """Measure Trident beside its peers: one table, one picture.

    The machine should have nothing else to do. The first run makes the peers' environments, which takes minutes and
    4.5 GB; one that cannot be made is reported and left out. Ctrl-C stops everything and writes what was measured.
    """
    console = Console()
    # A log has no width of its own, and tables want more than the default.
    console.width = console.width if console.is_terminal else LOG_WIDTH
    if quick:
        rounds, seconds = QUICK_ROUNDS, QUICK_SECONDS
    try:
        check_repository(repository, config_name)
    except ServerError as error:
        raise typer.BadParameter(f"{error} `make models` builds it.") from error
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        folder = out.resolve() / "work"
        counts = (QUICK_SENTENCES, QUICK_WINDOWS) if quick else (SENTENCES, WINDOWS)
        setting = contenders.Setting(
            inputs=prepare(repository, folder, *counts),
            folder=folder,
            peers=peers,
            loop=loop,
            threads=threads or contenders.cores(),
            config_name=config_name,
            torch_index_url=torch_index_url or None,
            turns=1 if quick else TURNS,
        )
        field = contenders.enter(setting)
        try:
            rows = field.named(only or [])
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        console.print("Preparing the weights ...")
        write_checkpoint(setting.inputs)
        comparison = _measure(field, rows, setting, rounds, seconds, quick, console)
    files = report.write(comparison, out)
    # Heavy, and not to be loaded beside what is measured.
    from trident_bench.compare.plots import draw

    files += draw(comparison, out)
    report.show(comparison, console)
    console.print("\n".join(map(str, files)), markup=False)
    if comparison.results.interrupted:
        raise typer.Exit(130)


def _measure(
    field: contenders.Field,
    rows: list[Row],
    setting: contenders.Setting,
    rounds: int,
    seconds: float,
    quick: bool,
    console: Console,
) -> report.Comparison:
    rectangles = cost.shapes(quick)
    found: dict[str, Any] = {"padding": None, "points": []}
    # Seldom drawn: the bar shares the cores with what is measured.
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, refresh_per_second=1) as progress:
        task = progress.add_task("starting", total=rounds * len(rows))

        def say(text: str) -> None:
            progress.update(task, description=text)
            # A log has no bar that moves.
            if "not measured" in text or not console.is_terminal:
                progress.console.print(text, markup=False)

        def afterwards(running: Mapping[str, Contender]) -> None:
            reader, engine = running.get("engine-qa"), running.get("engine")
            if isinstance(reader, LoopProcess):
                say("counting padding")
                found["padding"] = reader.ask(
                    "padding", what="passages", batch=PADDED_TOGETHER, layers=setting.inputs.layers
                )
            if isinstance(engine, LoopProcess):
                sweep = progress.add_task("cost by batch and length", total=len(rectangles))
                each = QUICK_SWEEP_SECONDS if quick else SWEEP_SECONDS
                cost.sweep(engine, rectangles, each, lambda: progress.advance(sweep), found["points"])

        results = Rounds(
            rows,
            rounds,
            seconds,
            checks=field.checks,
            environments=field.environments,
            say=say,
            step=lambda: progress.advance(task),
            afterwards=afterwards,
        ).run()
    return _comparison(results, found, seconds, setting.threads)


def _comparison(results: Results, found: Mapping[str, Any], seconds: float, threads: int) -> report.Comparison:
    points = found["points"]
    return report.Comparison(
        results=results,
        outcomes=ratios.measured(results.samples, found["padding"]),
        seconds=seconds,
        threads=threads,
        padding=found["padding"],
        points=points,
        cost=cost.fit(points) if len(points) >= cost.LEAST_POINTS else None,
    )
