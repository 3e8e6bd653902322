"""A row of the comparison, and how programs and servers are measured for one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from trident_bench.compare.processes import Contender, LoopProcess
from trident_bench.errors import MeasurementError
from trident_bench.generator.loop import Connector, Sample, closed_loop, send_once
from trident_bench.generator.requests import Read

#: Least cosine between a contender's embedding and the plain model's in float32: bfloat16 stays above, another model or
#: another pooling does not. Who computes in fewer bits than 16 keeps less; how much it keeps is reported.
SAME, SAME_IN_FEW_BITS = 0.99, 0.95

Measure = Callable[[float], Sample]


class Group(StrEnum):
    """What rows are compared within; the value heads them."""

    BARE = "Sentences to embeddings, without a server"
    SERVED = "Sentences to embeddings, one a request, 64 under way"
    ALONE = "Sentences to embeddings, one request at a time"
    COLA = "Acceptability of sentences"
    QA = "Windows of 384 tokens through the reader"
    KOREAN = "Korean sentences to embeddings, multilingual encoder"


@dataclass(frozen=True)
class Row:
    """One line of the comparison.

    Attributes:
        name: what it is called on the command line and in the results.
        title: in words.
        group: what it is compared within.
        contenders: all that must run for it; the last is the one that is measured.
        measure: measures for so many seconds.
        unit: of its rate.
        ours: whether it is Trident's.
    """

    name: str
    title: str
    group: Group
    contenders: tuple[Contender, ...]
    measure: Measure
    unit: str = "sentences/s"
    ours: bool = False


def loop_measure(program: LoopProcess, job: str, **options: object) -> Measure:
    """Measure what a program does in a loop."""

    def measure(seconds: float) -> Sample:
        answer = program.run(job, seconds=seconds, **options)
        facts = {key: float(value) for key, value in answer.items() if key not in {"items", "seconds", "times"}}
        return Sample(rate=answer["items"] / answer["seconds"], times=answer["times"], facts=facts)

    return measure


def server_measure(
    loop: asyncio.Runner, connector: Connector, requests: Sequence[bytes], in_flight: int, turns: int
) -> Measure:
    """Measure a server's answers to so many requests at a time."""
    return lambda seconds: loop.run(closed_loop(connector, requests, in_flight, seconds, turns=turns))


def embeddings_of_server(
    loop: asyncio.Runner, connector: Connector, requests: Sequence[bytes], read: Read
) -> npt.NDArray[np.float32]:
    """Return a server's embeddings, ``[requests, dim]``."""
    return np.stack([read(loop.run(send_once(connector, request))) for request in requests])


def check_embeddings(found: npt.ArrayLike, expected: npt.NDArray[np.float32], least: float = SAME) -> float:
    """Return the least cosine between a contender's embeddings and the expected ones, both ``[n, dim]``.

    Raises:
        MeasurementError: it is below ``least``, or they are of another shape: something else is computed.
    """
    rows = np.asarray(found, dtype=np.float32)
    if rows.shape != expected.shape:
        raise MeasurementError(f"its embeddings are of shape {rows.shape}, and {expected.shape} is expected")
    norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(expected, axis=1)
    cosine = float(((rows * expected).sum(axis=1) / norms).min())
    if not cosine >= least:
        raise MeasurementError(f"its embeddings differ from the plain model's: cosine {cosine:.4f}")
    return cosine
