"""The command ``trident-bench load``."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from trident_server.settings import ServerSettings

from trident_bench.ensembles import choose
from trident_bench.errors import BenchError
from trident_bench.load import perf_analyzer
from trident_bench.load.knee import MULTIPLE
from trident_bench.load.page import Report, draw_all, write_page
from trident_bench.load.plan import Protocol, parse_concurrency, parse_protocols, parse_rates
from trident_bench.load.points import Point, as_csv
from trident_bench.load.progress import show
from trident_bench.load.summary import summarise
from trident_bench.load.sweep import Plan, Step, Sweeper
from trident_bench.machine import machine_facts, model_files, versions
from trident_bench.report import write_json
from trident_bench.servers import Addresses, served
from trident_bench.store import Store
from trident_bench.triton import TritonState

OUTPUT = Path("bench/results/load")
INTERRUPTED = 130


@dataclasses.dataclass
class Run:
    """What came of a run, as far as it got."""

    points: list[Point] = dataclasses.field(default_factory=list)
    failed: list[Step] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    triton: str = "unknown"
    interrupted: bool = False
    aborted: str = ""


def load(
    ensembles: Annotated[
        list[str] | None, typer.Argument(help="Ensembles to put under load; all that are served by default.")
    ] = None,
    protocols: Annotated[str, typer.Option(help="Any of http, grpc and facade.")] = "http,grpc,facade",
    concurrency: Annotated[
        str, typer.Option(help="Requests under way at once: 1,4,16, or 1:64 (doubled), or 1:9:2 (in steps); or none.")
    ] = "1:64",
    rates: Annotated[
        str, typer.Option(help="Requests a second: 50,100, or shares of the highest throughput found; or none.")
    ] = "25%,50%,70%,80%,90%,100%",
    seconds: Annotated[float, typer.Option(min=0.5, max=600, help="Seconds that each point is measured.")] = 5.0,
    knee: Annotated[
        float, typer.Option(min=1, help="How many times the median of a lone request p99 may be at the knee.")
    ] = MULTIPLE,
    url: Annotated[
        str | None,
        typer.Option(help="host:port of a running Triton's HTTP service; else servers of its own are started."),
    ] = None,
    grpc_url: Annotated[str | None, typer.Option(help="host:port of the running Triton's gRPC service.")] = None,
    facade_url: Annotated[str | None, typer.Option(help="URL of the running facade.")] = None,
    repository: Annotated[Path, typer.Option(help="Model repository that the servers of its own serve.")] = Path(
        "model_repository"
    ),
    config_name: Annotated[str | None, typer.Option(help="Serve each model with its configs/<name>.pbtxt.")] = None,
    output: Annotated[Path, typer.Option(help="Folder for points, tables, plots and the report.")] = OUTPUT,
    fresh: Annotated[bool, typer.Option(help="Measure again what an earlier run has finished.")] = False,
) -> None:
    """Put every ensemble under rising load; find where each bends, and why.

    Writes report.html, results.json, results.csv, a plot for each ensemble, and what each load generator wrote. Goes on
    where it was interrupted. The machine should have nothing else to do.
    """
    console = Console(stderr=True, highlight=False)
    run = Run()
    settings = {
        "ensembles": ", ".join(ensembles or ["all"]),
        "protocols": protocols,
        "concurrency": concurrency,
        "rates": rates,
        "seconds a point": f"{seconds:g}",
        "server": url or "of this command's own",
    }
    if config_name is not None:
        settings["configuration"] = config_name
    try:
        levels, asked = parse_concurrency(concurrency), parse_rates(rates)
        if not levels and (asked.shares or not asked.values):
            raise BenchError("There is nothing to measure: give --concurrency, or --rates in requests a second.")
        if url is None and (grpc_url or facade_url):
            raise BenchError("--grpc-url and --facade-url are of a running server: give its --url too.")
        with _stopping_on_signals(), contextlib.ExitStack() as open_:
            chosen = parse_protocols(protocols)
            environment = open_.enter_context(perf_analyzer.environment())
            if url is None:
                console.print("Starting servers ...")
                addresses = open_.enter_context(
                    served(
                        repository,
                        output / "logs",
                        cache=ServerSettings().cache_dir / "load",
                        config_name=config_name,
                        facade="facade" in chosen,
                    )
                )
            else:
                chosen = _with_facade(chosen, facade_url, run, console)
                addresses = Addresses(url.removeprefix("http://").rstrip("/"), grpc_url, facade_url)
            for protocol in chosen:
                addresses.of(protocol)
            state = open_.enter_context(TritonState(addresses.http))
            run.triton = state.version()
            conditions = {"triton": run.triton, **versions(), "server": url or str(repository.resolve())}
            if url is None:
                conditions |= {"configuration": config_name or "", "models": model_files(repository)}
            plan = Plan(choose(state.ensembles(), ensembles or []), chosen, levels, asked, seconds, fresh)
            store = Store(output / "points", Point)
            sweeper = Sweeper(plan, addresses, state, environment, store, output / "data", conditions)
            for step in show(sweeper, console):
                if step.point is not None:
                    run.points.append(step.point)
                else:
                    run.failed.append(step)
    except KeyboardInterrupt:
        run.interrupted = True
    except (BenchError, FileNotFoundError) as error:
        run.aborted = str(error)
    if run.points:
        _write(run, output, settings, knee)
        console.print(f"Report: {output / 'report.html'}")
    _end(run, console)


def _with_facade(chosen: list[Protocol], facade_url: str | None, run: Run, console: Console) -> list[Protocol]:
    """Leave the facade of running servers out, aloud, where nobody said where it is."""
    rest: list[Protocol] = [each for each in chosen if each != "facade"]
    if facade_url is not None or rest == chosen:
        return chosen
    note = "The facade is left out: its address was not given (--facade-url)."
    if not rest:
        raise BenchError(f"{note} Nothing else was asked for.")
    run.notes.append(note)
    console.print(note, style="yellow", markup=False, soft_wrap=True)
    return rest


def _write(run: Run, output: Path, settings: dict[str, str], multiple: float) -> None:
    sweeps = summarise(run.points, multiple)
    notes = [*run.notes, *([run.aborted] if run.aborted else [])]
    report = Report(
        sweeps=sweeps,
        failed=run.failed,
        notes=notes,
        settings=settings,
        machine=machine_facts(),
        versions={"Triton": run.triton} | versions(),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        multiple=multiple,
        interrupted=run.interrupted,
    )
    plots = draw_all(sweeps)
    (output / "plots").mkdir(parents=True, exist_ok=True)
    for name, png in plots.items():
        (output / "plots" / f"{name}.png").write_bytes(png)
    told = {
        "written": report.written,
        "settings": settings,
        "machine": dict(report.machine),
        "versions": dict(report.versions),
        "knee_multiple": multiple,
        "interrupted": run.interrupted,
        "notes": notes,
        "not_measured": {step.name: step.problem for step in run.failed},
        "sweeps": [sweep.as_json() for sweep in sweeps],
    }
    write_json(output / "results.json", told)
    (output / "results.csv").write_text(as_csv([point for sweep in sweeps for point in sweep.points]), "utf-8")
    (output / "report.html").write_text(write_page(report, plots), "utf-8")


def _end(run: Run, console: Console) -> None:
    if run.interrupted:
        console.print("Interrupted; the same command goes on from here.")
        raise typer.Exit(INTERRUPTED)
    if run.aborted:
        console.print(run.aborted, style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1)
    if run.failed:
        console.print(f"Points that could not be measured: {len(run.failed)}.", style="red")
        raise typer.Exit(1)


@contextlib.contextmanager
def _stopping_on_signals() -> Iterator[None]:
    """Take SIGTERM for Ctrl-C, so that servers are stopped and what was measured is written."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
