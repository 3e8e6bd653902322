"""The command ``trident-bench mixed``: short requests of several tasks at once, alone and beside a long passage."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import numpy as np
import typer
from trident_client.options import Group, with_options

from trident_bench import console, texts
from trident_bench.asking import ask, asking
from trident_bench.errors import BenchError
from trident_bench.generator.loop import Sample
from trident_bench.options import RESULTS, MeasureOptions, ServerOptions
from trident_bench.report import Report, Section, Table, figure
from trident_bench.servers import Served, own_or_running
from trident_bench.triton import Protocol

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

    @classmethod
    def of(cls, ensemble: str, beside: bool, sample: Sample) -> Waits:
        """Return what a sample's requests waited."""
        p50, p99, longest = (MILLISECONDS * sample.quantile(each) for each in (0.5, 0.99, 1.0))
        return cls(ensemble, beside, len(sample.times), p50, p99, longest)


@with_options(
    server=Group(ServerOptions),
    options=Group(MeasureOptions, defaults={"seconds": 60.0, "output": RESULTS / "mixed"}),
)
def mixed(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ENSEMBLE]...", help="What is asked at once; cola, sts and qa_small by default."),
    ] = None,
    *,
    characters: Annotated[int, typer.Option(min=1, help="Of the long passage, of which one is always read.")] = 700_000,
    server: ServerOptions,
    options: MeasureOptions,
) -> None:
    """Say how long short requests of several tasks at once take, alone and beside a long passage."""
    with console.reporting("mixed"):
        with own_or_running(server, names or ENSEMBLES) as served:
            waits, passages = asyncio.run(_measure(served, server.protocol, characters, options))
        settings = {
            "protocol": server.protocol,
            "in flight": f"{options.in_flight} an ensemble",
            "seconds": f"{options.seconds:g}",
        }
        results = {"settings": settings, "waits": [asdict(each) for each in waits], "passage_seconds": passages}
        long = f"Passages of {characters:,} characters, one after the other: {len(passages)}"
        remark = f"{long}, of {figure(float(np.median(passages)))} s at the median."
        section = Section("Short requests", [remark], [table(waits)])
        report = Report("Short requests beside a long passage", results, [section], settings)
        console.publish(report, options.output)


async def _measure(
    served: Served, protocol: Protocol, characters: int, options: MeasureOptions
) -> tuple[list[Waits], list[float]]:
    reader = next((each for each in served.ensembles if each.spec.required[-1].tensor == "CONTEXT"), None)
    if reader is None:
        names = ", ".join(each.name for each in served.ensembles)
        raise BenchError(f"None of {names} reads a passage: name one that does.")
    (question, _), *_ = texts.questions(1)
    long, over, passages = (question, passage(characters)), asyncio.Event(), list[float]()

    async with asking(served.url, protocol, LONGEST_READ) as client:

        async def keep_reading() -> None:
            while not over.is_set():
                began = time.perf_counter()
                await reader.infer(client, long)
                passages.append(time.perf_counter() - began)

        async def ask_all(seconds: float, *, beside: bool) -> list[Waits]:
            asked = [ask(client, each, options.in_flight, seconds) for each in served.ensembles]
            samples = zip(served.ensembles, await asyncio.gather(*asked), strict=True)
            return [Waits.of(ensemble.name, beside, sample) for ensemble, sample in samples]

        await ask_all(options.warm_up, beside=False)
        waits = await ask_all(options.seconds, beside=False)
        reading = asyncio.create_task(keep_reading())
        try:
            waits += await ask_all(options.seconds, beside=True)
        except BaseException:
            reading.cancel()
            raise
        over.set()
        await reading
    return waits, passages


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
