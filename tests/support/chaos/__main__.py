"""``python -m chaos``: the long forms of faults, floods and the soak, each on a server of its own."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console

from chaos import faults as fault_table
from chaos import flood as flooding
from chaos import soak as soaking
from chaos import starts
from chaos.asking import asked_before
from chaos.questions import EVERYTHING, MIXED
from chaos.server import OwnServer, peak_mebibytes

app = typer.Typer(add_completion=False, help=__doc__)
console = Console(highlight=False, soft_wrap=True)
#: Mebibytes for backends, models and logs.
ROOM = 1024
Repository = Annotated[Path, typer.Option(help="The model repository that is served.")]
Clients = Annotated[int, typer.Option(help="Clients that ask at once.")]


@app.command()
def faults(
    out: Annotated[Path, typer.Option(help="The table goes here, as Markdown.")],
    repository: Repository = Path("model_repository"),
    clients: Clients = 16,
    only: Annotated[list[str], typer.Option(help="Faults whose names hold this, and no others.")] = [],  # noqa: B006
) -> None:
    """Do every fault to a server under load, and start it on damaged files.

    Exits with status 1 when a request was lost, an answer was wrong, or a start did not name what is at fault.
    """
    rows = []

    def suffer(server: OwnServer, name: str, form: str = "") -> None:
        row = fault_table.suffer(server, name, asked_before(server.url, MIXED), clients)
        rows.append(replace(row, fault=name + form))
        console.print(f"{rows[-1].fault}: {row.seconds:.1f} s {list(row.complaints)[:3]}", markup=False)

    def wanted(name: str) -> bool:
        return not only or any(each in name for each in only)

    if gentle := list(filter(wanted, fault_table.GENTLE)):
        with tempfile.TemporaryDirectory() as folder, OwnServer(repository, Path(folder)) as server:
            for name in gentle:
                suffer(server, name)
    deadly: list[tuple[str, str, list[str]]] = [
        (name, "", []) for name in fault_table.FAULTS if name not in fault_table.GENTLE
    ]
    deadly.append(("a Python model's process killed", " (isolated)", ["--isolated"]))
    for name, form, options in (each for each in deadly if wanted(each[0] + each[1])):
        wrapper: list[str] = []
        # A new one each time: pauses grow from death to death.
        with tempfile.TemporaryDirectory() as folder:
            if name == fault_table.FULL_DISK:
                if not starts.may_mount():
                    continue
                # Else Triton writes nothing once it is ready.
                wrapper, options = starts.in_little_room(folder, ROOM), ["--log-verbose=1"]
            with OwnServer(repository, Path(folder), options, wrapper=wrapper) as server:
                suffer(server, name, form)
    refusals = [starts.refuse(repository, name) for name in filter(wanted, starts.possible())]
    text = f"{fault_table.table(rows)}\n{starts.table(refusals)}"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, "utf-8")
    console.print(text, markup=False)
    if any(row.lost or row.wrong for row in rows) or any(each.status != 1 or not each.named for each in refusals):
        raise typer.Exit(1)


@app.command()
def flood(
    out: Annotated[Path, typer.Option(help="The points go here, as JSON; a table beside it, as Markdown.")],
    repository: Repository = Path("model_repository"),
    url: Annotated[str | None, typer.Option(help="A facade that runs already, in place of one of its own.")] = None,
    seconds: Annotated[float, typer.Option(help="How long each load is offered.")] = 60.0,
    texts: Annotated[int, typer.Option(help="How many each list has.")] = 2048,
    kind: Annotated[list[str], typer.Option(help="Of what; given again for more.")] = [*flooding.KINDS],  # noqa: B006
    load: Annotated[list[float], typer.Option(help="Times what is sustained.")] = [*flooding.LOADS],  # noqa: B006
) -> None:
    """Offer up to ten times the sustained load of single texts, of lists, of long passages and of all three."""
    if url is not None:
        points = uvloop.run(flooding.measure(url, seconds, texts, load, kind, _say))
    else:
        with tempfile.TemporaryDirectory() as folder, OwnServer(repository, Path(folder)) as server:
            points = uvloop.run(flooding.measure(server.url, seconds, texts, load, kind, _say))
            peaks = {name: peak_mebibytes(process) for name, process in server.processes().items()}
        console.print("Most memory: " + ", ".join(f"{name} {peak:.0f} MiB" for name, peak in peaks.items()))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(points, indent=1), "utf-8")
    out.with_suffix(".md").write_text(flooding.table(points), "utf-8")
    console.print(flooding.table(points), markup=False)


@app.command()
def picture(
    files: Annotated[list[Path], typer.Argument(help="What `flood` wrote; a line each, called by the file's name.")],
    out: Annotated[Path, typer.Option(help="The picture.")],
) -> None:
    """Draw goodput and p99 against the offered load."""
    flooding.plot({file.stem: json.loads(file.read_text("utf-8")) for file in files}, out)


@app.command()
def soak(
    out: Annotated[Path, typer.Option(help="The plot goes here.")],
    repository: Repository = Path("model_repository"),
    minutes: Annotated[float, typer.Option(help="How long.")] = 20.0,
    clients: Clients = 8,
) -> None:
    """Ask everything, over HTTP and gRPC, good and bad, for a long time; look at every answer and at what grows.

    Exits with status 1 when an answer was wrong, a request was lost, or something grew.
    """
    with tempfile.TemporaryDirectory() as folder, OwnServer(repository, Path(folder)) as server:
        known = asked_before(server.url, EVERYTHING, server.grpc_url)
        found = soaking.run(server, known, clients, 60 * minutes, say=_say)
    out.parent.mkdir(parents=True, exist_ok=True)
    soaking.plot(found, out)
    console.print(f"{found.counts} {list(found.complaints)[:3]}", markup=False)
    failures = found.failures()
    for each in failures:
        console.print(each, style="red", markup=False)
    if failures:
        raise typer.Exit(1)


def _say(text: str) -> None:
    console.print(text, markup=False)


if __name__ == "__main__":
    # Who is told to stop stops its servers, and removes its copies.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    app()
