"""What ``trident-bench profile`` says and does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from trident_client.errors import TridentError

from trident_bench.console import console, progress, reporting
from trident_bench.ensembles import Ensemble, choose
from trident_bench.errors import BenchError
from trident_bench.machine import machine_facts, name_tag
from trident_bench.profiling.measure import (
    Level,
    Measured,
    add_idle,
    bytes_moved,
    finish,
    idle_microseconds,
    measure,
    new_client,
)
from trident_bench.profiling.picture import draw, table
from trident_bench.profiling.trace import read_trace, trace_arguments
from trident_bench.report import Table, write_json
from trident_bench.repository import CONFIGURATIONS, ensembles, link_models
from trident_bench.servers import served
from trident_bench.triton import TritonState

ENSEMBLES = ["cola", "sts", "sts_embedding", "qa"]


class Protocol(StrEnum):
    """How the client talks to Triton."""

    GRPC = "grpc"
    HTTP = "http"


@dataclass(frozen=True)
class Profile:
    """A profile.

    Attributes:
        levels: every ensemble under every load.
        bytes: into and out of each model, for one middling item, by ensemble and model.
        idle: microseconds that a Python model costs that does nothing; None where the server is somebody else's.
    """

    levels: list[Level]
    bytes: dict[str, dict[str, tuple[int, int]]]
    idle: float | None


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
        typer.Option(help="Profile the Triton that runs at host:port, by its statistics, instead of one's own."),
    ] = None,
    protocol: Annotated[Protocol, typer.Option(help="How the client talks to Triton.")] = Protocol.GRPC,
    in_flight: Annotated[int, typer.Option(min=1, help="Requests at once, beside 1.")] = 32,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of each measurement.")] = 5.0,
    warm_up: Annotated[float, typer.Option(min=0.0, help="Seconds of load before each.")] = 2.0,
    repository: Annotated[Path, typer.Option(help="The model repository that a server of one's own serves.")] = Path(
        "model_repository"
    ),
    config_name: Annotated[str | None, typer.Option(help="Serve its models with configs/<name>.pbtxt.")] = None,
    output: Annotated[Path, typer.Option(help="Folder for profile.json and profile.png.")] = Path(
        "bench/results/profile"
    ),
) -> None:
    """Say where a request's microseconds go, stage by stage, at 1 request in flight and at more.

    The server's stages come from Triton's trace of every request where the server is this command's own, and from its
    statistics where it is given by --url. Load and server share the machine, which should have nothing else to do.
    """
    plan = Plan(protocol, tuple(dict.fromkeys((1, in_flight))), warm_up, seconds)
    with reporting("profile"):
        if url is not None:
            found = _running(url, names or ENSEMBLES, plan)
        else:
            found = _own(repository, names or ENSEMBLES, config_name, plan)
        _show(found)
        _write(found, plan, output)


def _own(repository: Path, names: Sequence[str], config_name: str | None, plan: Plan) -> Profile:
    chosen = choose(ensembles(repository), names)
    models = tuple(dict.fromkeys(model for each in chosen for model in each.models))
    if config_name and not any((repository / m / CONFIGURATIONS / f"{config_name}.pbtxt").is_file() for m in models):
        raise BenchError(f"None of {', '.join(models)} has {CONFIGURATIONS}/{config_name}.pbtxt in {repository}.")
    with TemporaryDirectory(prefix="trident-profile-") as name:
        folder = Path(name)
        copy = link_models(repository, models, folder / "models")
        add_idle(copy)
        arguments = trace_arguments(folder / "trace.json")
        serving = served(copy, folder, config_name=config_name, extra_args=arguments)
        with serving as addresses, TritonState(addresses.http) as state:
            url = addresses.of(plan.protocol.value)
            measured, sizes, idle = asyncio.run(_measure_all(url, state, chosen, plan, idle=True))
        # Triton writes what it has of the trace when it stops.
        traced = read_trace(folder / "trace.json")
    return Profile([finish(each, traced) for each in measured], sizes, idle)


def _running(url: str, names: Sequence[str], plan: Plan) -> Profile:
    with TritonState(url, plan.protocol.value) as state:
        chosen = choose(state.ensembles(), names)
        measured, sizes, idle = asyncio.run(_measure_all(url, state, chosen, plan, idle=False))
    return Profile([finish(each, None) for each in measured], sizes, idle)


async def _measure_all(
    url: str, state: TritonState, chosen: Sequence[Ensemble], plan: Plan, *, idle: bool
) -> tuple[list[Measured], dict[str, dict[str, tuple[int, int]]], float | None]:
    measured, sizes, nothing = [], {}, None
    try:
        async with new_client(url, plan.protocol.value) as client:
            with progress() as shown:
                task = shown.add_task("profile", total=len(chosen) * len(plan.loads) + idle)
                if idle:
                    nothing = await idle_microseconds(client, state, plan.seconds / 2)
                    shown.advance(task)
                for ensemble in chosen:
                    sizes[ensemble.name] = await bytes_moved(client, ensemble)
                    for in_flight in plan.loads:
                        shown.update(task, description=f"{ensemble.name}, {in_flight} in flight")
                        measured.append(await measure(client, state, ensemble, in_flight, plan.warm_up, plan.seconds))
                        shown.advance(task)
    except TridentError as error:
        raise BenchError(f"A request failed: {error}") from error
    return measured, sizes, nothing


def _show(found: Profile) -> None:
    for name in dict.fromkeys(level.ensemble for level in found.levels):
        console.print(table([level for level in found.levels if level.ensemble == name]).shown(), "")
    for level in found.levels:
        if not level.alone:
            console.print(
                f"[yellow]Others used the models of {level.ensemble} meanwhile[/]: its stages are theirs, too."
            )
    moved = [
        [ensemble, model, f"{into:,}", f"{out:,}"]
        for ensemble, models in found.bytes.items()
        for model, (into, out) in models.items()
    ]
    headings = ("ensemble", "model", "bytes in", "bytes out")
    console.print(Table("One middling item, copied into a model and out of it", headings, moved, words=2).shown())
    if found.idle is not None:
        console.print(
            f"A Python model that does nothing costs {found.idle:,.0f} µs, one request at a time: what each model with "
            "a process of its own pays to be reached, whatever it does."
        )


def _write(found: Profile, plan: Plan, output: Path) -> None:
    machine = name_tag()
    try:
        content = {
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine_facts(),
            "protocol": plan.protocol.value,
            "seconds": plan.seconds,
            "warm_up": plan.warm_up,
            "idle_python_model_microseconds": found.idle,
            "bytes": found.bytes,
            "levels": [asdict(each) for each in found.levels],
        }
        write_json(output / "profile.json", content)
        draw(found.levels, f"{machine}, {plan.protocol.value}, {time.strftime('%Y-%m-%d')}", output / "profile.png")
    except OSError as error:
        raise BenchError(f"{output} cannot be written ({error.strerror}): choose another with --output.") from error
    console.print(f"[green]✓[/] {output / 'profile.json'}, {output / 'profile.png'}", soft_wrap=True)
