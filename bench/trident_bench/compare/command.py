"""``trident-bench compare``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from trident_client.options import Group, with_options
from trident_server.errors import ServerError
from trident_server.machine import Machine
from trident_server.repository import check_repository

from trident_bench import console
from trident_bench.compare import contenders, ratios
from trident_bench.compare.inputs import prepare, write_bfloat16, write_checkpoint
from trident_bench.compare.report import Comparison, make_report
from trident_bench.compare.rounds import Rounds
from trident_bench.compare.rows import Row
from trident_bench.generator.loop import TURNS
from trident_bench.options import RESULTS, MeasureOptions, ServerOptions

SENTENCES, WINDOWS = 512, 64
QUICK_SENTENCES, QUICK_WINDOWS = 128, 16
QUICK_SECONDS, QUICK_ROUNDS = 0.5, 2


@with_options(
    server=Group(ServerOptions, without=("url", "protocol")),
    options=Group(MeasureOptions, without=("warm_up", "in_flight"), defaults={"output": RESULTS / "compare"}),
)
def compare(
    only: Annotated[
        list[str] | None,
        typer.Option(help="Measure this row (ensemble-grpc-64) or contender (infinity) alone; repeatable."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Everybody is measured once a round.")] = 5,
    quick: Annotated[bool, typer.Option(help="Half a second each, two rounds: to see that it works.")] = False,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Everybody computes with so many; as many as there are cores if not given."),
    ] = None,
    peers: Annotated[Path, typer.Option(help="The peers' environments are made in this folder.")] = Path(
        ".trident/peers"
    ),
    torch_index_url: Annotated[
        str | None,
        typer.Option(envvar="TORCH_INDEX_URL", help="A further package index for the peers' torch, the CPU build."),
    ] = None,
    *,
    server: ServerOptions,
    options: MeasureOptions,
) -> None:
    """Measure Trident beside its peers: one table, one picture.

    The machine should have nothing else to do. The first run makes the peers' environments, which takes minutes and
    4.5 GB; one that cannot be made is reported and left out. Ctrl-C stops everything and writes what was measured.
    """
    rounds, seconds = (QUICK_ROUNDS, QUICK_SECONDS) if quick else (rounds, options.seconds)
    try:
        check_repository(server.repository, server.config_name)
    except ServerError as error:
        raise typer.BadParameter(str(error)) from error
    with console.reporting("compare"), asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        folder = options.output.resolve() / "work"
        counts = (QUICK_SENTENCES, QUICK_WINDOWS) if quick else (SENTENCES, WINDOWS)
        setting = contenders.Setting(
            inputs=prepare(server.repository, folder, *counts),
            folder=folder,
            peers=peers,
            loop=loop,
            threads=threads or Machine().cores,
            config_name=server.config_name,
            torch_index_url=torch_index_url or None,
            turns=1 if quick else TURNS,
        )
        entries = contenders.make_entries(setting)
        try:
            rows = entries.named(only or [])
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        console.out.print("Preparing the weights ...")
        write_checkpoint(setting.inputs)
        if any(row.name == contenders.BFLOAT16 for row in rows):
            write_bfloat16(setting.inputs)
        comparison = _measure(entries, rows, setting, rounds, seconds)
        console.publish(make_report(comparison, options.output), options.output)
    if comparison.results.interrupted:
        raise typer.Exit(console.INTERRUPTED)


def _measure(
    entries: contenders.Entries, rows: list[Row], setting: contenders.Setting, rounds: int, seconds: float
) -> Comparison:
    with console.progress() as bar:
        task = bar.add_task("starting", total=rounds * len(rows))

        def log(text: str) -> None:
            bar.update(task, description=text)
            # A log has no bar that moves.
            if "not measured" in text or not bar.console.is_terminal:
                bar.console.print(text, markup=False)

        results = Rounds(
            rows,
            rounds,
            seconds,
            checks=entries.checks,
            environments=entries.environments,
            log=log,
            step=lambda: bar.advance(task),
        ).run()
    return Comparison(results, ratios.measured(results.samples), seconds, setting.threads)
