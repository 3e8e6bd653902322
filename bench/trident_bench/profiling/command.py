"""What ``trident-bench profile`` says and does."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.progress import Progress
from rich.table import Table
from trident_client.errors import TridentError
from trident_server.machine import Machine

from trident_bench.profiling.measure import (
    Level,
    Measured,
    add_idle,
    carried,
    finish,
    idle_microseconds,
    measure,
    served_ensembles,
    transport,
)
from trident_bench.profiling.picture import draw, table
from trident_bench.profiling.trace import read_trace, trace_arguments
from trident_bench.stand.ensembles import Ensemble, choose
from trident_bench.stand.errors import StandError
from trident_bench.stand.machine import name_tag
from trident_bench.stand.overlay import ensembles, lay_over
from trident_bench.stand.reporting import console, progress, reporting
from trident_bench.stand.server import served

ENSEMBLES = ["cola", "sts", "sts_embedding", "qa"]


class Protocol(StrEnum):
    """How the client talks to Triton."""

    GRPC = "grpc"
    HTTP = "http"


@dataclass(frozen=True)
class Found:
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


def _own(repository: Path, names: Sequence[str], config_name: str | None, plan: Plan) -> Found:
    chosen = choose(ensembles(repository), names)
    with TemporaryDirectory(prefix="trident-profile-") as name:
        folder = Path(name)
        models = dict.fromkeys(model for each in chosen for model in each.models)
        named = {model: repository / model / "configs" / f"{config_name}.pbtxt" for model in models}
        changed = {model: file.read_text("utf-8") for model, file in named.items() if config_name and file.is_file()}
        if config_name and not changed:
            raise StandError(f"None of {', '.join(models)} has configs/{config_name}.pbtxt in {repository}.")
        copy = lay_over(repository, models, folder / "models", changed)
        add_idle(copy)
        with served(copy, folder, extra_args=trace_arguments(folder / "trace.json")) as triton:
            measured, sizes, idle = asyncio.run(
                _measure_all(
                    triton.grpc_url if plan.protocol is Protocol.GRPC else triton.http_url, chosen, plan, idle=True
                )
            )
        # Triton writes what it has of the trace when it stops.
        traced = read_trace(folder / "trace.json")
    return Found([finish(each, traced) for each in measured], sizes, idle)


def _running(url: str, names: Sequence[str], plan: Plan) -> Found:
    # One event loop: gRPC's channels do not change theirs.
    with asyncio.Runner() as runner:
        chosen = runner.run(served_ensembles(url, plan.protocol, names))
        measured, sizes, idle = runner.run(_measure_all(url, chosen, plan, idle=False))
    return Found([finish(each, None) for each in measured], sizes, idle)


async def _measure_all(
    url: str, chosen: Sequence[Ensemble], plan: Plan, *, idle: bool
) -> tuple[list[Measured], dict[str, dict[str, tuple[int, int]]], float | None]:
    measured, sizes = [], {}
    try:
        async with transport(url, plan.protocol) as client:
            with progress() as shown:
                task = shown.add_task("profile", total=len(chosen) * len(plan.loads) + idle)
                nothing = await _idle(client, plan, shown) if idle else None
                shown.advance(task, int(idle))
                for ensemble in chosen:
                    sizes[ensemble.name] = await carried(client, ensemble)
                    for in_flight in plan.loads:
                        shown.update(task, description=f"{ensemble.name}, {in_flight} in flight")
                        measured.append(await measure(client, ensemble, in_flight, plan.warm_up, plan.seconds))
                        shown.advance(task)
    except TridentError as error:
        raise StandError(f"A request failed: {error}") from error
    return measured, sizes, nothing


async def _idle(client: Any, plan: Plan, shown: Progress) -> float:
    return await idle_microseconds(client, plan.seconds / 2)


def _show(found: Found) -> None:
    for name in dict.fromkeys(level.ensemble for level in found.levels):
        console.print(table([level for level in found.levels if level.ensemble == name]))
        console.print()
    for level in found.levels:
        if not level.alone:
            console.print(
                f"[yellow]Others used the models of {level.ensemble} meanwhile[/]: its stages are theirs, too."
            )
    moved = Table(title="[bold]One middling item, copied into a model and out of it[/]", title_justify="left", box=None)
    for head in ("ensemble", "model", "bytes in", "bytes out"):
        moved.add_column(head, justify="right" if head.startswith("bytes") else "left")
    for ensemble, models in found.bytes.items():
        for model, (into, out) in models.items():
            moved.add_row(ensemble, model, f"{into:,}", f"{out:,}")
    console.print(moved)
    if found.idle is not None:
        console.print(
            f"A Python model that does nothing costs {found.idle:,.0f} µs, one request at a time: what each model with "
            "a process of its own pays to be reached, whatever it does."
        )


def _write(found: Found, plan: Plan, output: Path) -> None:
    machine = name_tag(Machine())
    try:
        output.mkdir(parents=True, exist_ok=True)
        content = {
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": asdict(machine),
            "protocol": plan.protocol.value,
            "seconds": plan.seconds,
            "warm_up": plan.warm_up,
            "idle_python_model_microseconds": found.idle,
            "bytes": found.bytes,
            "levels": [asdict(each) for each in found.levels],
        }
        (output / "profile.json").write_text(json.dumps(content, indent=1) + "\n")
        draw(found.levels, f"{machine}, {plan.protocol.value}, {time.strftime('%Y-%m-%d')}", output / "profile.png")
    except OSError as error:
        raise StandError(f"{output} cannot be written ({error.strerror}): choose another with --output.") from error
    console.print(f"[green]✓[/] {output / 'profile.json'}, {output / 'profile.png'}", soft_wrap=True)
