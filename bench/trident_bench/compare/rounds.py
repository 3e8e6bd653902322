"""Runs the comparison: starts everybody, measures in interleaved rounds, and stops everybody whatever happens."""

from __future__ import annotations

import contextlib
import signal
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trident_server.errors import ServerError

from trident_bench.compare.environments import Environment
from trident_bench.compare.memory import memory, pause, resume
from trident_bench.compare.processes import Contender
from trident_bench.compare.rows import Row
from trident_bench.errors import BenchError
from trident_bench.generator.loop import Sample

#: What a contender may fail with; anything else is this program's own failure.
FAILURES = (BenchError, ServerError, OSError)
#: Of a reason; a log says the rest.
MOST_CHARACTERS = 400

Log = Callable[[str], None]


@dataclass
class Results:
    """What was measured.

    Attributes:
        rows: those that were to be measured.
        samples: of each row by name, one a round; None where it was not measured.
        failures: why a contender, by name, is measured no further.
        memory: bytes that each row's contenders held at most, by the row's name.
        cosines: least cosine to the plain model's embeddings, by contender.
        facts: what each contender reports, such as its dtype.
        interrupted: whether somebody stopped it half-way.
    """

    rows: Sequence[Row]
    samples: dict[str, list[Sample | None]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    cosines: dict[str, float] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    interrupted: bool = False

    def measured(self, name: str) -> list[Sample]:
        """Return a row's samples of the rounds in which it was measured."""
        return [sample for sample in self.samples.get(name, []) if sample is not None]

    def failure(self, row: Row) -> str | None:
        """Return why a row was not measured, or not to the end; None where it was."""
        reasons = [self.failures[each.name] for each in row.contenders if each.name in self.failures]
        return reasons[0] if reasons else None


@dataclass
class Rounds:
    """One comparison.

    Attributes:
        rows: what is measured, each once a round, in this order.
        checks: by a contender's name, what proves that it computes the same; returns the least cosine.
        environments: by a contender's name, what is installed before it is started.
        rounds: how many.
        seconds: that each row is measured for in a round.
        log: called with what is done.
        step: is called after every measurement.
    """

    rows: Sequence[Row]
    rounds: int
    seconds: float
    checks: Mapping[str, Callable[[], float]] = field(default_factory=dict)
    environments: Mapping[str, Environment] = field(default_factory=dict)
    log: Log = lambda text: None
    step: Callable[[], None] = lambda: None

    def run(self) -> Results:
        """Measure everybody; a contender that fails is left out from there on, and Ctrl-C ends it early.

        Returns:
            What was measured until then.
        """
        results = Results(self.rows, samples={row.name: [] for row in self.rows})
        contenders = {each.name: each for row in self.rows for each in row.contenders}
        try:
            for contender in contenders.values():
                self._start(contender, results)
            for contender in contenders.values():
                pause(contender.pids())
            for number in range(self.rounds):
                for row in self.rows:
                    self.log(f"round {number + 1} of {self.rounds}: {row.title}")
                    results.samples[row.name].append(self._measure(row, results))
                    self.step()
        except KeyboardInterrupt:
            results.interrupted = True
        finally:
            with _ignoring_interrupts():
                self.log("stopping")
                # The facade before the Triton behind it.
                for contender in reversed(contenders.values()):
                    self._stop(contender)
        return results

    def _start(self, contender: Contender, results: Results) -> None:
        name = contender.name
        try:
            if name in self.environments:
                self.log(f"installing what {name} needs, where it is not there yet")
                self.environments[name].ensure()
            self.log(f"starting {name}")
            contender.start()
            results.facts[name] = contender.facts
            if name in self.checks:
                results.cosines[name] = self.checks[name]()
        except FAILURES as error:
            self._drop(contender, error, results)

    def _measure(self, row: Row, results: Results) -> Sample | None:
        if results.failure(row) is not None:
            return None
        try:
            with _running(row.contenders):
                sample = row.measured.measure(self.seconds)
                held = memory(pid for contender in row.contenders for pid in contender.pids())
        except FAILURES as error:
            self._drop(row.contenders[-1], error, results)
            return None
        results.memory[row.name] = max(results.memory.get(row.name, 0), held)
        return sample

    def _drop(self, contender: Contender, error: BaseException, results: Results) -> None:
        results.failures[contender.name] = textwrap.shorten(str(error), MOST_CHARACTERS, placeholder=" ...")
        self.log(f"{contender.name} is not measured: {results.failures[contender.name]}")
        self._stop(contender)

    def _stop(self, contender: Contender) -> None:
        # Who is paused cannot hear that it shall stop.
        resume(contender.pids())
        contender.stop()


@contextlib.contextmanager
def _running(contenders: Sequence[Contender]) -> Iterator[None]:
    for contender in contenders:
        resume(contender.pids())
    try:
        yield
    finally:
        for contender in contenders:
            pause(contender.pids())


@contextlib.contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Let no further Ctrl-C keep servers from being stopped."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
