"""Goes through all points: what is finished already is taken, the rest is measured."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trident_bench.ensembles import Ensemble
from trident_bench.errors import BenchError, MeasurementError, TooShortError
from trident_bench.load import generated, perf_analyzer
from trident_bench.load.plan import Level, Protocol, Rates
from trident_bench.load.points import Load, Point
from trident_bench.load.window import Probe, Window
from trident_bench.servers import Addresses
from trident_bench.store import Store, fingerprint
from trident_bench.triton import TritonState

WARM_UP = Level("concurrency", 8.0)
WARM_UP_SECONDS = 1.0
#: After so many points in a row that could not be measured, the server is not asked again.
MOST_FAILED = 3
#: A point with fewer answers is measured so many times longer, up to so many times in all.
LEAST_ANSWERED = 20
LONGER, MOST_TRIES = 4, 3


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        ensembles: to be put under load, one after the other.
        protocols: by which each is loaded.
        concurrency: levels of closed loops.
        rates: of open loops.
        seconds: that a point is measured.
        fresh: measure finished points again.
    """

    ensembles: Sequence[Ensemble]
    protocols: Sequence[Protocol]
    concurrency: Sequence[Level]
    rates: Rates
    seconds: float
    fresh: bool = False

    @property
    def size(self) -> int:
        """How many points there are."""
        return len(self.ensembles) * len(self.protocols) * (len(self.concurrency) + len(self.rates.values))


@dataclass(frozen=True)
class Outcome:
    """What came of one point.

    Attributes:
        name: of the point.
        point: what was found; None where it could not be measured.
        problem: why not.
        reused: whether an earlier run had finished it.
    """

    name: str
    point: Point | None
    problem: str = ""
    reused: bool = False


@dataclass
class Sweeper:
    """Measures a plan.

    Args:
        plan: what is measured.
        addresses: of the servers.
        state: asks Triton.
        environment: that perf_analyzer runs in.
        store: keeps points.
        data: folder for perf_analyzer's requests.
        conditions: all else that results depend on, such as versions.
        on_start: called with the name of a point that is about to be measured.
    """

    plan: Plan
    addresses: Addresses
    state: TritonState
    environment: Mapping[str, str]
    store: Store[Point]
    data: Path
    conditions: Mapping[str, str]
    on_start: Callable[[str], None] = field(default=lambda name: None)

    def run(self) -> Iterator[Outcome]:
        """Measure point after point.

        Raises:
            BenchError: a server died or does not answer any more, or point after point fails.
        """
        failed = 0
        for ensemble in self.plan.ensembles:
            for protocol in self.plan.protocols:
                for outcome in self._sweep(ensemble, protocol):
                    yield outcome
                    self.addresses.check()
                    failed = failed + 1 if outcome.point is None else 0
                    if failed == MOST_FAILED:
                        reason = f"Gave up after {failed} points in a row that could not be measured: {outcome.problem}"
                        raise BenchError(reason)

    def _sweep(self, ensemble: Ensemble, protocol: Protocol) -> Iterator[Outcome]:
        conditions = self._fingerprint(ensemble, protocol)
        warm = False
        highest: list[float] = []

        def levels() -> Iterator[Level]:
            yield from self.plan.concurrency
            yield from self.plan.rates.levels(max(highest, default=None))

        for level in levels():
            outcome = self._point(ensemble, protocol, level, conditions, warm)
            warm = warm or not outcome.reused
            if outcome.point is not None and level.mode == "concurrency":
                highest.append(outcome.point.load.throughput)
            yield outcome

    def _point(self, ensemble: Ensemble, protocol: Protocol, level: Level, conditions: str, warm: bool) -> Outcome:
        name, place = f"{ensemble.name} {protocol} {level}", f"{ensemble.name}/{protocol}/{level.slug}"
        found = None if self.plan.fresh else self.store.find(place, conditions)
        if found is not None:
            return Outcome(name, found, reused=True)
        self.on_start(name)
        try:
            if not warm:
                self._warm_up(ensemble, protocol)
            seconds, load, window = self._measure_long_enough(ensemble, protocol, level, self.store.place(place))
        except MeasurementError as error:
            return Outcome(name, None, str(error))
        point = Point(
            ensemble=ensemble.name,
            protocol=protocol,
            mode=level.mode,
            value=level.value,
            seconds=seconds,
            fingerprint=conditions,
            load=load,
            window=window,
        )
        self.store.keep(place, point)
        return Outcome(name, point)

    def _measure_long_enough(
        self, ensemble: Ensemble, protocol: Protocol, level: Level, folder: Path
    ) -> tuple[float, Load, Window]:
        seconds = self.plan.seconds
        for _ in range(MOST_TRIES - 1):
            with contextlib.suppress(TooShortError):
                load, window = self._measure(ensemble, protocol, level, seconds, folder)
                if load.requests >= LEAST_ANSWERED:
                    return seconds, load, window
            seconds *= LONGER
        return seconds, *self._measure(ensemble, protocol, level, seconds, folder)

    def _warm_up(self, ensemble: Ensemble, protocol: Protocol) -> None:
        # A slow model may answer nothing in so short a time.
        with tempfile.TemporaryDirectory(prefix="trident-load-") as folder, contextlib.suppress(MeasurementError):
            self._measure(ensemble, protocol, WARM_UP, WARM_UP_SECONDS, Path(folder))

    def _measure(
        self, ensemble: Ensemble, protocol: Protocol, level: Level, seconds: float, folder: Path
    ) -> tuple[Load, Window]:
        probe, url = Probe(self.state, ensemble), self.addresses.of(protocol)
        if protocol == "facade":
            return generated.measure(ensemble, protocol, url, level, seconds, folder, probe)
        data = perf_analyzer.write_data(ensemble, self.data)
        command = perf_analyzer.command(ensemble.name, protocol, url, data, level, seconds)
        return perf_analyzer.measure(command, level, seconds, folder, self.environment, probe)

    def _fingerprint(self, ensemble: Ensemble, protocol: Protocol) -> str:
        conditions: dict[str, Any] = {
            "seconds": self.plan.seconds,
            "configurations": {
                name: each.SerializeToString(deterministic=True).hex() for name, each in ensemble.configurations.items()
            },
            "items": json.dumps(ensemble.items(generated.ROWS)),
            "generator": "own" if protocol == "facade" else "perf_analyzer",
            "conditions": dict(self.conditions),
        }
        return fingerprint(conditions)
