"""What ``trident-bench tune`` says and does."""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.markup import escape
from rich.progress import Progress, TaskID
from trident_server.machine import Machine
from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident_bench.console import console, progress, reporting
from trident_bench.ensembles import Ensemble, choose
from trident_bench.machine import name_tag, total_memory
from trident_bench.repository import CONFIGURATION, ensembles
from trident_bench.store import Store
from trident_bench.tuning import named
from trident_bench.tuning.candidates import Candidates, Choice, apply, candidates, words
from trident_bench.tuning.report import Report
from trident_bench.tuning.study import Search, Trial, chosen
from trident_bench.tuning.trials import TrialRunner
from trident_bench.tuning.verdict import Measurement, Verdict

#: The bound of the 99th percentile is so many times that of the default, where none is given.
SLACK = 1.25
GOES_ON = "The same command goes on from here; what was found is in"


def host_name() -> str:
    """Return this host's name as one of a configuration."""
    return re.sub(r"[^a-z0-9]+", "-", socket.gethostname().lower()).strip("-") or "host"


@dataclass(frozen=True)
class Tuning:
    """A search that is prepared: what is served, and what may be chosen."""

    runner: TrialRunner
    name: str
    space: Mapping[str, Candidates]
    command: str

    @property
    def configurations(self) -> Mapping[str, ModelConfig]:
        """The repository's own, by model."""
        return self.runner.ensemble.configurations

    @property
    def defaults(self) -> dict[str, Choice]:
        """What the repository has."""
        return {model: each.default for model, each in self.space.items()}

    def texts(self, choices: Mapping[str, Choice], *further: str) -> dict[str, str]:
        """Return the configurations that differ from the repository's, as files."""
        made = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, for {name_tag()}."
        header = (self.command, made, *further)
        return {
            model: named.text(apply(self.configurations[model], choice, self.space[model].default), header)
            for model, choice in choices.items()
            if choice != self.space[model].default
        }

    def measure(self, choices: Mapping[str, Choice]) -> Measurement:
        """Measure one choice."""
        return self.runner.measure(self.texts(choices))


def tune(
    ensemble: Annotated[str, typer.Argument(help="Whose models: cola, sts, qa, or another ensemble.")],
    name: Annotated[
        str | None, typer.Option(help="Of the configuration that is written; this host's name by default.")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Configurations to measure, the repository's own first.")] = 40,
    in_flight: Annotated[int, typer.Option(min=1, help="Requests at once.")] = 64,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of load that are counted, each time.")] = 5.0,
    warm_up: Annotated[float, typer.Option(min=0.0, help="Seconds of load before.")] = 2.0,
    p99_ms: Annotated[
        float | None,
        typer.Option(min=0.1, help=f"What the 99th percentile must keep; {SLACK} times the default's where not given."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Of the best against the default in the end.")] = 5,
    least_gain: Annotated[float, typer.Option(min=0.0, help="Median gain from which it is written.")] = 0.03,
    repository: Annotated[Path, typer.Option(help="The model repository.")] = Path("model_repository"),
    output: Annotated[
        Path | None, typer.Option(help="Folder for study, report and picture; bench/results/tune-ENSEMBLE by default.")
    ] = None,
) -> None:
    """Find instances, threads, delays and batches that suit this machine, and write them as a named configuration.

    Requests a second are searched for the most of, as long as the 99th percentile keeps its bound. The client that
    makes the load shares the cores, as a facade on the same host does. In the end the best is measured against the
    repository's own configuration in turns, and written only if it won every round and the median gain is worth it:
    <model>/configs/NAME.pbtxt, which `trident-serve --config-name NAME` serves. Given again, the command goes on where
    it was stopped.
    """
    output = output or Path("bench/results") / f"tune-{ensemble}"
    name = name if name is not None else host_name()
    reported = reporting("tune", f"{GOES_ON} {output / 'tune.json'}.")
    with reported, asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        (ensemble_,) = choose(ensembles(repository), [ensemble])
        runner = TrialRunner(repository, ensemble_, in_flight, warm_up, seconds, loop)
        tuning = _prepare(runner, name)
        named.check(repository, tuning.space, name)
        bound = None if p99_ms is None else p99_ms / 1000
        _run(tuning, output, trials, rounds, bound, least_gain)


def _prepare(runner: TrialRunner, name: str) -> Tuning:
    cores, memory = Machine().cores, total_memory()
    ensemble = runner.ensemble
    space = {
        model: candidates(ensemble.configurations[model], cores, _weights(runner.repository, model), memory)
        for model in ensemble.steps
    }
    command = (
        f"trident-bench tune {ensemble.name} --name {name} --in-flight {runner.in_flight} --seconds {runner.seconds:g}"
    )
    return Tuning(runner, name, space, command)


def _run(tuning: Tuning, output: Path, trials: int, rounds: int, bound: float | None, least_gain: float) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    runner = tuning.runner
    conditions: dict[str, Any] = {
        "ensemble": runner.ensemble.name,
        "machine": name_tag(),
        "in_flight": runner.in_flight,
        "seconds": runner.seconds,
        "warm_up": runner.warm_up,
        "p99_bound": bound,
        "models": _digest(runner.repository, runner.ensemble),
    }
    told = conditions | {"command": tuning.command, "made": datetime.now(UTC).isoformat(timespec="seconds")}
    store = Store(output, Trial)
    with store.locked():
        search = Search(store, conditions, tuning.space, bound, SLACK)
        report = Report(told, search)
        try:
            with progress() as shown:
                task = shown.add_task("as configured", total=search.left(trials) + 2 * rounds)

                def tell(trial: Trial) -> None:
                    shown.advance(task)
                    shown.update(task, description=_line(report, trial, shown, task))

                search.run(trials, tuning.measure, tell)
                best = chosen(search.finished[0].parameters, tuning.space)
                if best != tuning.defaults:
                    shown.update(task, description="the best against as configured")
                    report = _compare(tuning, report, best, rounds, least_gain)
                shown.update(task, completed=shown.tasks[task].total)
        finally:
            report.write(output)
        console.print(report.table().shown())
        _say(tuning, report, best)
        console.print(f"[green]✓[/] {output / 'tune.json'}, {output / 'tune.png'}", soft_wrap=True)


def _compare(tuning: Tuning, report: Report, best: Mapping[str, Choice], rounds: int, least_gain: float) -> Report:
    measured = tuning.runner.compare(tuning.texts(best), tuning.name, rounds)
    verdict = Verdict.of(measured, report.search.p99_bound or 0.0, least_gain)
    written: list[Path] = []
    if verdict.better:
        texts = tuning.texts(best, f"{tuning.runner.ensemble.name}: {verdict}.", words(best, tuning.defaults) + ".")
        written = named.write(tuning.runner.repository, texts, tuning.space, tuning.name)
    return Report(report.facts, report.search, measured, verdict, written)


def _say(tuning: Tuning, report: Report, best: Mapping[str, Choice]) -> None:
    if report.verdict is None:
        console.print("Nothing was written: no configuration was faster than the repository's own.")
        return
    console.print(f"{words(best, tuning.defaults)}: {report.verdict}.", soft_wrap=True)
    if not report.written:
        console.print(
            f"Nothing was written: that is not reliably better. It takes every round, a median gain of "
            f"{report.verdict.least_gain:.0%} and a p99 within {report.verdict.bound * 1000:.0f} ms.",
            soft_wrap=True,
        )
        return
    for file in report.written:
        console.print(f"[green]✓[/] {file}", soft_wrap=True)
    console.print(f"Serve it: trident-serve --config-name {tuning.name}", soft_wrap=True)


def _line(report: Report, trial: Trial, shown: Progress, task: TaskID) -> str:
    if trial.result is None:
        first = trial.failure.splitlines()[0]
        shown.console.print(f"[yellow]trial {trial.number} failed[/]: {escape(first)}", soft_wrap=True)
    else:
        figures = f"{trial.result.throughput:,.0f}/s, p99 {1000 * trial.result.p99:,.0f} ms"
        shown.console.print(f"trial {trial.number}: {figures}, {report.words(trial)}", soft_wrap=True)
    best = report.search.score(report.search.finished[0])
    return f"best so far {best:,.0f}/s" if best > 0 else "none keeps the bound"


def _weights(repository: Path, model: str) -> int:
    return sum(file.stat().st_size for file in (repository / model).glob("[0-9]*/*.pt"))


def _digest(repository: Path, ensemble: Ensemble) -> str:
    """Return a word that changes when what is measured does."""
    made = hashlib.sha256()
    for model in ensemble.models:
        made.update((repository / model / CONFIGURATION).read_bytes())
        for file in sorted((repository / model).glob("[0-9]*/*")):
            if file.is_file():
                made.update(f"{file.name} {file.stat().st_size}".encode())
    return made.hexdigest()[:12]
