"""A row of the comparison, and what is measured for one: a program in a loop, or a server's answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from trident_bench.compare.processes import Contender, LoopProcess
from trident_bench.errors import MeasurementError
from trident_bench.generator.loop import Connector, Sample, closed_loop, send_once
from trident_bench.generator.requests import Read

#: Least cosine between a contender's embedding and the plain model's in float32: bfloat16 stays above, another model or
#: another pooling does not. Who computes in fewer bits than 16 keeps less; how much it keeps is reported.
SAME, SAME_IN_FEW_BITS = 0.99, 0.95


class Group(StrEnum):
    """What rows are compared within; the value heads them."""

    BARE = "Sentences to embeddings, without a server"
    SERVED = "Sentences to embeddings, one a request, 64 under way"
    ALONE = "Sentences to embeddings, one request at a time"
    COLA = "Acceptability of sentences"
    QA = "Windows of 384 tokens through the reader"
    KOREAN = "Korean sentences to embeddings, multilingual encoder"


@dataclass(frozen=True)
class Loop:
    """What a program does in a loop.

    Attributes:
        program: that does it.
        job: what is done.
        batch: texts at a time.
        what: of the texts; a program that takes only one kind is not told.
    """

    program: LoopProcess
    job: str
    batch: int
    what: str | None = None

    @property
    def contenders(self) -> tuple[Contender, ...]:
        """All that must run for it."""
        return (self.program,)

    def measure(self, seconds: float) -> Sample:
        """Measure for so many seconds."""
        options = {"what": self.what} if self.what else {}
        answer = self.program.run(self.job, seconds=seconds, batch=self.batch, **options)
        facts = {key: float(value) for key, value in answer.items() if key not in {"items", "seconds", "times"}}
        return Sample(rate=answer["items"] / answer["seconds"], times=answer["times"], facts=facts)


@dataclass(frozen=True)
class Requests:
    """Requests to a server.

    Attributes:
        contenders: all that must run for it.
        connector: opens the connections.
        requests: made before.
        loop: runs the load.
        turns: answers that every connection waits for at least.
        in_flight: requests under way.
    """

    contenders: tuple[Contender, ...]
    connector: Connector
    requests: Sequence[bytes]
    loop: asyncio.Runner
    turns: int
    in_flight: int

    def measure(self, seconds: float) -> Sample:
        """Measure for so many seconds."""
        return self.loop.run(closed_loop(self.connector, self.requests, self.in_flight, seconds, turns=self.turns))

    def embeddings(self, count: int, read: Read) -> npt.NDArray[np.float32]:
        """Return the embeddings of the first texts, ``[count, dim]``."""
        return np.stack([read(self.loop.run(send_once(self.connector, each))) for each in self.requests[:count]])


class Measurable(Protocol):
    """What a row measures; see :class:`Loop` and :class:`Requests`."""

    @property
    def contenders(self) -> tuple[Contender, ...]:
        """All that must run for it; the last is the one that is measured."""

    def measure(self, seconds: float) -> Sample:
        """Measure for so many seconds."""


@dataclass(frozen=True)
class Row:
    """One line of the comparison.

    Attributes:
        name: what it is called on the command line and in the results.
        title: in words.
        group: what it is compared within.
        measured: what is measured.
        ours: whether it is Trident's.
        unit: of its rate.
    """

    name: str
    title: str
    group: Group
    measured: Measurable
    ours: bool = False
    unit: str = "sentences/s"

    @property
    def contenders(self) -> tuple[Contender, ...]:
        """All that must run for it; the last is the one that is measured."""
        return self.measured.contenders


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
