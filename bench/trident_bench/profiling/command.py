"""The command ``trident-bench profile``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from trident_client.errors import TridentError

from trident_bench import console
from trident_bench.ensembles import Ensemble, choose
from trident_bench.errors import BenchError
from trident_bench.machine import name_tag
from trident_bench.profiling.measure import Level, measure, new_client
from trident_bench.profiling.report import sections
from trident_bench.report import Report
from trident_bench.repository import CONFIGURATIONS, ensembles, link_models
from trident_bench.servers import served
from trident_bench.triton import Protocol, TritonState

ENSEMBLES = ["cola", "sts", "sts_embedding", "qa"]


@dataclass(frozen=True)
class Plan:
    """How long what is loaded how."""

    protocol: Protocol
    loads: tuple[int, ...]
    warm_up: float
    seconds: float


def profile(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[ENSEMBLE]...", help="What to profile; all tasks' by default.")
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(help="Profile the Triton that runs at host:port, instead of one of this command's own."),
    ] = None,
    protocol: Annotated[Protocol, typer.Option(help="How the client talks to Triton.")] = "grpc",
    in_flight: console.InFlightOption = 32,
    seconds: console.SecondsOption = 5.0,
    warm_up: console.WarmUpOption = 2.0,
    repository: console.RepositoryOption = console.MODELS,
    config_name: console.ConfigNameOption = None,
    output: console.OutputOption = console.RESULTS / "profile",
) -> None:
    """Say where a request's microseconds go, stage by stage, at 1 request in flight and at more.

    The server's stages come from Triton's statistics. Load and server share the machine, which should have nothing else
    to do.
    """
    plan = Plan(protocol, tuple(dict.fromkeys((1, in_flight))), warm_up, seconds)
    with console.reporting("profile"):
        if url is not None:
            levels = _running(url, names or ENSEMBLES, plan)
        else:
            levels = _own(repository, names or ENSEMBLES, config_name, plan)
        settings = {"protocol": protocol, "seconds": f"{seconds:g}", "warm-up": f"{warm_up:g}"}
        caption = f"{name_tag()}, {protocol}, {time.strftime('%Y-%m-%d')}"
        results = {"settings": settings, "levels": [asdict(each) for each in levels]}
        report = Report("Where a request's time goes", results, sections(levels, caption, output), settings)
        console.publish(report, output)


def _own(repository: Path, names: Sequence[str], config_name: str | None, plan: Plan) -> list[Level]:
    chosen = choose(ensembles(repository), names)
    models = tuple(dict.fromkeys(model for each in chosen for model in each.models))
    if config_name and not any((repository / m / CONFIGURATIONS / f"{config_name}.pbtxt").is_file() for m in models):
        raise BenchError(f"None of {', '.join(models)} has {CONFIGURATIONS}/{config_name}.pbtxt in {repository}.")
    with TemporaryDirectory(prefix="trident-profile-") as name:
        folder = Path(name)
        copy = link_models(repository, models, folder / "models")
        with served(copy, folder, config_name=config_name) as addresses, TritonState(addresses.http) as state:
            return asyncio.run(_measure(addresses.of(plan.protocol), state, chosen, plan))


def _running(url: str, names: Sequence[str], plan: Plan) -> list[Level]:
    with TritonState(url, plan.protocol) as state:
        return asyncio.run(_measure(url, state, choose(state.ensembles(), names), plan))


async def _measure(url: str, state: TritonState, chosen: Sequence[Ensemble], plan: Plan) -> list[Level]:
    found = []
    try:
        async with new_client(url, plan.protocol) as client:
            with console.progress() as bar:
                task = bar.add_task("profile", total=len(chosen) * len(plan.loads))
                for ensemble in chosen:
                    for in_flight in plan.loads:
                        bar.update(task, description=f"{ensemble.name}, {in_flight} in flight")
                        found.append(await measure(client, state, ensemble, in_flight, plan.warm_up, plan.seconds))
                        bar.advance(task)
    except TridentError as error:
        raise BenchError(f"A request failed: {error}") from error
    return found
