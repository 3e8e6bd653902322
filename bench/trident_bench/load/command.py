"""The command ``trident-bench load``."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from trident_client.options import Group, with_options
from trident_server.settings import ServerSettings

from trident_bench import console
from trident_bench.ensembles import choose
from trident_bench.errors import BenchError
from trident_bench.load import perf_analyzer
from trident_bench.load.plan import parse_concurrency, parse_protocols, parse_rates
from trident_bench.load.points import Point
from trident_bench.load.report import sections
from trident_bench.load.summary import MULTIPLE, summarise
from trident_bench.load.sweep import Outcome, Plan, Sweeper
from trident_bench.machine import model_files, versions
from trident_bench.options import RESULTS, MeasureOptions, ServerOptions
from trident_bench.report import Report
from trident_bench.servers import Addresses, served
from trident_bench.store import Store
from trident_bench.triton import TritonState


@dataclass
class Run:
    """What came of a run, as far as it got."""

    points: list[Point] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    reused: int = 0
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False

    def add(self, outcome: Outcome) -> str:
        """Take a point's outcome, and return it in words; nothing for one that an earlier run had finished."""
        if outcome.point is None:
            self.failed[outcome.name] = outcome.problem
            return f"[red]{outcome.name} not measured:[/] {escape(outcome.problem)}"
        self.points.append(outcome.point)
        self.reused += outcome.reused
        load = outcome.point.load
        figures = f"{load.throughput:,.1f} requests/s, p50 {load.latency.p50:.1f} ms, p99 {load.latency.p99:.1f} ms"
        failed = f", [yellow]{load.failures} failed[/]" if load.failures else ""
        return "" if outcome.reused else f"{outcome.name}: {figures}{failed}"


@with_options(
    server=Group(ServerOptions, without=("url", "protocol")),
    options=Group(MeasureOptions, without=("warm_up", "in_flight"), defaults={"output": RESULTS / "load"}),
)
def load(
    ensembles: Annotated[
        list[str] | None, typer.Argument(help="Ensembles to put under load; all that are served by default.")
    ] = None,
    protocols: Annotated[str, typer.Option(help="Any of http, grpc and facade.")] = "http,grpc,facade",
    concurrency: Annotated[
        str, typer.Option(help="Requests under way at once: 1,4,16 or 1:64 (doubled); or none.")
    ] = "1:64",
    rates: Annotated[
        str, typer.Option(help="Requests a second: 50,100, or shares of the highest throughput found; or none.")
    ] = "25%,50%,70%,80%,90%,100%",
    knee: Annotated[
        float, typer.Option(min=1, help="How many times the median of a lone request p99 may be at the knee.")
    ] = MULTIPLE,
    url: Annotated[
        str | None,
        typer.Option(help="host:port of a running Triton's HTTP service; else servers of its own are started."),
    ] = None,
    grpc_url: Annotated[str | None, typer.Option(help="host:port of the running Triton's gRPC service.")] = None,
    facade_url: Annotated[str | None, typer.Option(help="URL of the running facade.")] = None,
    fresh: Annotated[bool, typer.Option(help="Measure again what an earlier run has finished.")] = False,
    *,
    server: ServerOptions,
    options: MeasureOptions,
) -> None:
    """Put every ensemble under rising load; find where each bends, and why.

    Goes on where it was interrupted; what each load generator wrote is kept in points/. The machine should have nothing
    else to do.
    """
    settings = {
        "ensembles": ", ".join(ensembles or ["all"]),
        "protocols": protocols,
        "concurrency": concurrency,
        "rates": rates,
        "seconds a point": f"{options.seconds:g}",
        "server": url or "of this command's own",
        "configuration": server.config_name or "config.pbtxt",
    }
    run = Run()
    with console.reporting("load", "The same command goes on from here."):
        levels, wanted = parse_concurrency(concurrency), parse_rates(rates)
        if not levels and (wanted.shares or not wanted.values):
            raise BenchError("There is nothing to measure: give --concurrency, or --rates in requests a second.")
        if url is None and (grpc_url or facade_url):
            raise BenchError("--grpc-url and --facade-url are of a running server: give its --url too.")
        chosen = parse_protocols(protocols)
        if url is not None and facade_url is None and "facade" in chosen:
            chosen.remove("facade")
            run.notes.append("The facade is left out: its address was not given (--facade-url).")
            if not chosen:
                raise BenchError(f"{run.notes[-1]} Nothing else was asked for.")
            console.errors.print(f"[yellow]{run.notes[-1]}[/]", soft_wrap=True)

        servers: contextlib.AbstractContextManager[Addresses]
        if url is not None:
            servers = contextlib.nullcontext(Addresses(url.removeprefix("http://").rstrip("/"), grpc_url, facade_url))
        else:
            logs, cache = options.output / "logs", ServerSettings().cache_dir / "load"
            servers = served(
                server.repository, logs, cache=cache, config_name=server.config_name, facade="facade" in chosen
            )
            console.errors.print("Starting servers ...")
        try:
            with (
                perf_analyzer.environment() as environment,
                servers as addresses,
                TritonState(addresses.http) as state,
            ):
                for protocol in chosen:
                    addresses.of(protocol)
                conditions = {
                    "triton": state.version(),
                    **versions(),
                    "server": url or str(server.repository.resolve()),
                }
                if url is None:
                    conditions |= {"configuration": server.config_name or "", "models": model_files(server.repository)}
                settings["Triton"] = conditions["triton"]
                plan = Plan(choose(state.ensembles(), ensembles or []), chosen, levels, wanted, options.seconds, fresh)
                store = Store(options.output / "points", Point)
                _measure(Sweeper(plan, addresses, state, environment, store, options.output / "data", conditions), run)
        except KeyboardInterrupt:
            run.interrupted = True
            run.notes.append("The run was interrupted; the same command goes on from there.")
            raise
        except BenchError as error:
            run.notes.append(str(error))
            raise
        finally:
            if run.points:
                _write(run, options.output, settings, knee)
        if run.failed:
            raise BenchError(f"{len(run.failed)} points could not be measured.")


def _measure(sweeper: Sweeper, run: Run) -> None:
    with console.progress() as bar:
        task = bar.add_task("", total=sweeper.plan.size)
        sweeper.on_start = lambda name: bar.update(task, description=name)
        for outcome in sweeper.run():
            bar.advance(task)
            if line := run.add(outcome):
                bar.console.print(line, soft_wrap=True)
    if run.reused:
        console.errors.print(f"{run.reused} points were measured by an earlier run; --fresh measures them again.")


def _write(run: Run, output: Path, settings: dict[str, str], multiple: float) -> None:
    sweeps = summarise(run.points, multiple)
    notes = [*run.notes, *(f"Not measured: {name}: {problem}" for name, problem in run.failed.items())]
    results = {
        "settings": settings,
        "knee_multiple": multiple,
        "interrupted": run.interrupted,
        "notes": run.notes,
        "not_measured": run.failed,
        "sweeps": [sweep.model_dump() for sweep in sweeps],
    }
    output.mkdir(parents=True, exist_ok=True)
    report = Report("Trident under load", results, sections(sweeps, multiple, notes, output), settings)
    console.publish(report, output)
