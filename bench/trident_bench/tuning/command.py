"""The command ``trident-bench tune``."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import optuna
import typer
import uvloop
from rich.markup import escape
from rich.progress import Progress
from trident_client.options import Group, with_options
from trident_server.machine import Machine

from trident_bench import console
from trident_bench.ensembles import choose
from trident_bench.machine import model_files, name_tag, total_memory
from trident_bench.options import RESULTS, MeasureOptions, ServerOptions
from trident_bench.repository import ensembles
from trident_bench.store import Store
from trident_bench.tuning import named
from trident_bench.tuning.candidates import Choice, apply, candidates, describe
from trident_bench.tuning.report import Tuning
from trident_bench.tuning.study import Search, Trial
from trident_bench.tuning.trials import TrialRunner
from trident_bench.tuning.verdict import Measurement, Verdict

#: The bound of the 99th percentile is so many times that of the default, where none is given.
SLACK = 1.25


def host_name() -> str:
    """Return this host's name as one of a configuration."""
    return re.sub(r"[^a-z0-9]+", "-", socket.gethostname().lower()).strip("-") or "host"


@with_options(
    server=Group(ServerOptions, without=("config_name", "url", "protocol")),
    options=Group(MeasureOptions, without=("output",), defaults={"in_flight": 64}),
)
def tune(
    ensemble: Annotated[str, typer.Argument(help="Whose models: cola, sts, qa, or another ensemble.")],
    name: Annotated[
        str | None, typer.Option(help="Of the configuration that is written; this host's name by default.")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Configurations to measure, the repository's own first.")] = 40,
    p99_ms: Annotated[
        float | None,
        typer.Option(min=0.1, help=f"What the 99th percentile must keep; {SLACK} times the default's where not given."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Of the best against the default in the end.")] = 5,
    least_gain: Annotated[float, typer.Option(min=0.0, help="Median gain from which it is written.")] = 0.03,
    output: Annotated[
        Path | None, typer.Option("--output", "--out", help="As of the others; bench/results/tune-ENSEMBLE by default.")
    ] = None,
    *,
    server: ServerOptions,
    options: MeasureOptions,
) -> None:
    """Find instances, threads, delays and batches that suit this machine, and write them as a named configuration.

    Requests a second are searched for the most of, as long as the 99th percentile keeps its bound. The client that
    makes the load shares the cores, as a facade on the same host does. In the end the best is measured against the
    repository's own configuration in turns, and written only if it won every round and the median gain is worth it:
    <model>/configs/NAME.pbtxt, which `trident-serve --config-name NAME` serves. Given again, the command goes on where
    it was stopped.
    """
    folder = output or RESULTS / f"tune-{ensemble}"
    name = name if name is not None else host_name()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    refusals = console.reporting("tune", f"The same command goes on from here; what was found is in {folder}.")
    with refusals, asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        (chosen,) = choose(ensembles(server.repository), [ensemble])
        cores, memory = Machine().cores, total_memory()
        space = {
            model: candidates(chosen.configurations[model], cores, _weights(server.repository, model), memory)
            for model in chosen.steps
        }
        named.check(server.repository, space, name)
        conditions: dict[str, Any] = {
            "ensemble": ensemble,
            "machine": name_tag(),
            "in_flight": options.in_flight,
            "seconds": options.seconds,
            "warm_up": options.warm_up,
            "p99_bound": None if p99_ms is None else p99_ms / 1000,
            "models": model_files(server.repository, chosen.models),
        }
        store = Store(folder, Trial)
        with store.locked():
            search = Search(store, conditions, space, conditions["p99_bound"], SLACK)
            runner = TrialRunner(server.repository, chosen, options, loop)
            _Tuner(runner, search, name, folder).run(trials, rounds, least_gain)


@dataclass
class _Tuner:
    runner: TrialRunner
    search: Search
    name: str
    folder: Path

    def run(self, trials: int, rounds: int, least_gain: float) -> None:
        """Search, compare the best with the default, and write and show what came of it."""
        search, tuning, remarks = self.search, Tuning(self.search), ["The search was not finished."]
        try:
            with console.progress() as bar:
                task = bar.add_task("as configured", total=search.remaining(trials) + 2 * rounds)

                def on_trial(trial: Trial) -> None:
                    best = search.score(search.finished[0])
                    title = f"best so far {best:,.0f}/s" if best > 0 else "none keeps the bound"
                    bar.update(task, advance=1, description=title)
                    self._show(trial, tuning, bar)

                search.run(trials, self._measure, on_trial)
                best = search.choices(search.finished[0].parameters)
                if best != search.defaults:
                    bar.update(task, description="the best against as configured")
                    tuning = self._compare(best, rounds, least_gain)
                bar.update(task, completed=bar.tasks[task].total)
            remarks = self._remarks(tuning, best)
        finally:
            console.publish(tuning.report(search.conditions, remarks, self.folder), self.folder)

    def _texts(self, choices: Mapping[str, Choice], *further: str) -> dict[str, str]:
        """Return the configurations that differ from the repository's, as files."""
        runner = self.runner
        command = f"trident-bench tune {runner.ensemble.name} --name {self.name} --in-flight {runner.options.in_flight}"
        made = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, for {name_tag()}."
        header = (f"{command} --seconds {runner.options.seconds:g}", made, *further)
        defaults, own = self.search.defaults, runner.ensemble.configurations
        return {
            model: named.text(apply(own[model], choice, defaults[model]), header)
            for model, choice in choices.items()
            if choice != defaults[model]
        }

    def _measure(self, choices: Mapping[str, Choice]) -> Measurement:
        return self.runner.measure(self._texts(choices))

    def _compare(self, best: Mapping[str, Choice], rounds: int, least_gain: float) -> Tuning:
        measured = self.runner.compare(self._texts(best), self.name, rounds)
        verdict = Verdict.of(measured, self.search.p99_bound or 0.0, least_gain)
        written: list[Path] = []
        if verdict.better:
            ensemble, changes = self.runner.ensemble.name, describe(best, self.search.defaults)
            texts = self._texts(best, f"{ensemble}: {verdict}.", f"{changes}.")
            written = named.write(self.runner.repository, texts, self.search.space, self.name)
        return Tuning(self.search, measured, verdict, written)

    def _remarks(self, tuning: Tuning, best: Mapping[str, Choice]) -> list[str]:
        verdict = tuning.verdict
        if verdict is None:
            return ["Nothing was written: no configuration was faster than the repository's own."]
        found = f"{describe(best, self.search.defaults)}: {verdict}."
        if tuning.written:
            files = [f"written: {file}" for file in tuning.written]
            return [found, *files, f"Serve it: trident-serve --config-name {self.name}"]
        needed = f"a median gain of {verdict.least_gain:.0%} and a p99 within {verdict.bound * 1000:.0f} ms"
        return [found, f"Nothing was written: that is not reliably better. It takes every round, {needed}."]

    def _show(self, trial: Trial, tuning: Tuning, bar: Progress) -> None:
        line = f"[yellow]trial {trial.number} failed[/]: {escape(trial.failure.partition(chr(10))[0])}"
        if trial.result is not None:
            figures = f"{trial.result.throughput:,.0f}/s, p99 {1000 * trial.result.p99:,.0f} ms"
            line = f"trial {trial.number}: {figures}, {tuning.describe(trial)}"
        bar.console.print(line, soft_wrap=True)


def _weights(repository: Path, model: str) -> int:
    return sum(file.stat().st_size for file in (repository / model).glob("[0-9]*/*.pt"))
