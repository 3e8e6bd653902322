"""The command ``trident-bench mixed``: short requests of several tasks at once, alone and beside a long passage."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import typer
from trident_client import AsyncTridentClient
from trident_client.errors import TridentError

from trident_bench import console, texts
from trident_bench.ensembles import Ensemble, choose
from trident_bench.errors import BenchError
from trident_bench.generator.loop import closed_loop
from trident_bench.profiling.measure import new_client, through
from trident_bench.report import Report, Section, Table, figure
from trident_bench.repository import ensembles, link_models
from trident_bench.servers import Addresses, served
from trident_bench.triton import Protocol, TritonState

ENSEMBLES = ["cola", "sts", "qa_small"]
#: Seconds that a long passage may take.
LONGEST_READ = 1200.0
#: More of it than a word has letters, so that a passage of so many words is longer than it is to be.
FEWEST_LETTERS = 3
MILLISECONDS = 1e3


@dataclass(frozen=True)
class Waits:
    """How long the short requests of one ensemble took, those included that ended after the measurement.

    Attributes:
        ensemble: its name.
        beside: whether a long passage was read meanwhile.
        requests: how many there were.
        p50: median, in milliseconds.
        p99: in milliseconds.
        longest: in milliseconds; of few requests, p99 may not show one that waited for the whole passage.
    """

    ensemble: str
    beside: bool
    requests: int
    p50: float
    p99: float
    longest: float


def mixed(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ENSEMBLE]...", help="What is asked at once; cola, sts and qa_small by default."),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(help="Measure the Triton that runs at host:port, instead of one of this command's own."),
    ] = None,
    protocol: Annotated[Protocol, typer.Option(help="How the client talks to Triton.")] = "grpc",
    characters: Annotated[int, typer.Option(min=1, help="Of the long passage, of which one is always read.")] = 700_000,
    in_flight: console.InFlightOption = 1,
    seconds: console.SecondsOption = 60.0,
    warm_up: console.WarmUpOption = 2.0,
    repository: console.RepositoryOption = console.MODELS,
    config_name: console.ConfigNameOption = None,
    output: console.OutputOption = console.RESULTS / "mixed",
) -> None:
    """Say how long short requests of several tasks at once take, alone and beside a long passage."""
    wanted = names or ENSEMBLES
    with console.reporting("mixed"), TemporaryDirectory(prefix="trident-mixed-") as name:
        folder = Path(name)
        running: AbstractContextManager[Addresses]
        if url is not None:
            running = nullcontext(Addresses(url, url))
        else:
            models = tuple(dict.fromkeys(m for each in choose(ensembles(repository), wanted) for m in each.models))
            running = served(link_models(repository, models, folder / "models"), folder, config_name=config_name)
        with running as addresses, TritonState(addresses.of(protocol), protocol) as state:
            chosen = choose(state.ensembles(), wanted)
            measured = _measure(addresses.of(protocol), protocol, chosen, characters, in_flight, warm_up, seconds)
            waits, passages = asyncio.run(measured)
        settings = {"protocol": protocol, "in flight": f"{in_flight} an ensemble", "seconds": f"{seconds:g}"}
        results = {"settings": settings, "waits": [asdict(each) for each in waits], "passage_seconds": passages}
        long = f"Passages of {characters:,} characters, one after the other: {len(passages)}"
        remark = f"{long}, of {figure(float(np.median(passages)))} s at the median."
        section = Section("Short requests", [remark], [table(waits)])
        console.publish(Report("Short requests beside a long passage", results, [section], settings), output)


async def _measure(
    url: str,
    protocol: Protocol,
    chosen: Sequence[Ensemble],
    characters: int,
    in_flight: int,
    warm_up: float,
    seconds: float,
) -> tuple[list[Waits], list[float]]:
    reader = next((each for each in chosen if each.spec.required[-1].tensor == "CONTEXT"), None)
    if reader is None:
        raise BenchError(f"None of {', '.join(each.name for each in chosen)} reads a passage: name one that does.")
    (question, _), *_ = texts.questions(1)
    long, over, passages = (question, passage(characters)), asyncio.Event(), list[float]()

    async def keep_reading(client: AsyncTridentClient) -> None:
        while not over.is_set():
            began = time.perf_counter()
            await reader.infer(client, long)
            passages.append(time.perf_counter() - began)

    try:
        async with new_client(url, protocol, LONGEST_READ) as client:
            await _ask_all(client, chosen, in_flight, warm_up, beside=False)
            waits = await _ask_all(client, chosen, in_flight, seconds, beside=False)
            reading = asyncio.create_task(keep_reading(client))
            try:
                waits += await _ask_all(client, chosen, in_flight, seconds, beside=True)
            except BaseException:
                reading.cancel()
                raise
            over.set()
            await reading
    except TridentError as error:
        raise BenchError(f"A request failed: {error}") from error
    return waits, passages


async def _ask_all(
    client: AsyncTridentClient, chosen: Sequence[Ensemble], in_flight: int, seconds: float, *, beside: bool
) -> list[Waits]:
    """Ask all ensembles at once for so many seconds."""

    async def ask(ensemble: Ensemble) -> Waits:
        times: list[float] = []

        async def infer(item: Any) -> None:
            began = time.perf_counter()
            await ensemble.infer(client, item)
            times.append(MILLISECONDS * (time.perf_counter() - began))

        await closed_loop(through(infer), ensemble.items(), in_flight, seconds, turns=1, warm_up=0)
        p50, p99 = (float(each) for each in np.quantile(times, (0.5, 0.99)))
        return Waits(ensemble.name, beside, len(times), p50, p99, max(times))

    return list(await asyncio.gather(*map(ask, chosen)))


def passage(characters: int) -> str:
    """Return a passage of so many characters, the same every time."""
    return texts.passage(1 + characters // FEWEST_LETTERS, random.Random(7))[:characters]


def table(waits: Sequence[Waits]) -> Table:
    """Return a row for each ensemble, alone and beside the passage."""
    names = ("p50", "p99", "longest")
    headings = ["", *(f"{name} {when}, ms" for when in ("alone", "beside") for name in names), "p99, times", "requests"]
    rows = []
    for alone in (each for each in waits if not each.beside):
        (beside,) = (each for each in waits if each.beside and each.ensemble == alone.ensemble)
        figures = [figure(getattr(each, name)) for each in (alone, beside) for name in names]
        rows.append([alone.ensemble, *figures, figure(beside.p99 / alone.p99), f"{alone.requests}, {beside.requests}"])
    return Table("Alone and beside a long passage", headings, rows)
