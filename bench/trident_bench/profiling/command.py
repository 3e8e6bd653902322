"""The command ``trident-bench profile``."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, replace
from typing import Annotated

import typer
from trident_client.options import Group, with_options

from trident_bench import console
from trident_bench.asking import asking
from trident_bench.machine import name_tag
from trident_bench.options import RESULTS, MeasureOptions, ServerOptions
from trident_bench.profiling.measure import Level, measure
from trident_bench.profiling.report import sections
from trident_bench.report import Report
from trident_bench.servers import Served, own_or_running
from trident_bench.triton import Protocol

ENSEMBLES = ["cola", "sts", "sts_embedding", "qa"]


@with_options(
    server=Group(ServerOptions),
    options=Group(MeasureOptions, defaults={"in_flight": 32, "output": RESULTS / "profile"}),
)
def profile(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[ENSEMBLE]...", help="What to profile; all tasks' by default.")
    ] = None,
    *,
    server: ServerOptions,
    options: MeasureOptions,
) -> None:
    """Say where a request's microseconds go, stage by stage, at 1 request in flight and at more.

    The server's stages come from Triton's statistics. Load and server share the machine, which should have nothing else
    to do.
    """
    with console.reporting("profile"):
        with own_or_running(server, names or ENSEMBLES) as served:
            levels = asyncio.run(_measure(served, server.protocol, options))
        settings = {
            "protocol": server.protocol,
            "seconds": f"{options.seconds:g}",
            "warm-up": f"{options.warm_up:g}",
        }
        caption = f"{name_tag()}, {server.protocol}, {time.strftime('%Y-%m-%d')}"
        results = {"settings": settings, "levels": [asdict(each) for each in levels]}
        report = Report("Where a request's time goes", results, sections(levels, caption, options.output), settings)
        console.publish(report, options.output)


async def _measure(served: Served, protocol: Protocol, options: MeasureOptions) -> list[Level]:
    loads, found = tuple(dict.fromkeys((1, options.in_flight))), []
    async with asking(served.url, protocol) as client:
        with console.progress() as bar:
            task = bar.add_task("profile", total=len(served.ensembles) * len(loads))
            for ensemble in served.ensembles:
                for in_flight in loads:
                    bar.update(task, description=f"{ensemble.name}, {in_flight} in flight")
                    at_this = replace(options, in_flight=in_flight)
                    found.append(await measure(client, served.state, ensemble, at_this))
                    bar.advance(task)
    return found
