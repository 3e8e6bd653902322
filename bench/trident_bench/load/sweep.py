"""Goes through all points: what is finished already is taken, the rest is measured."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trident_bench.load import facade_load, triton_load
from trident_bench.load.ensembles import Ensemble, TritonState
from trident_bench.load.errors import LoadError, PointError, TooShortError
from trident_bench.load.facade_load import Locust
from trident_bench.load.plan import Level, Protocol, Rates
from trident_bench.load.results import Load, Point, Store
from trident_bench.load.servers import Addresses
from trident_bench.load.traffic import Traffic, write_traffic
from trident_bench.load.window import Probe, Window

WARM_UP = Level("concurrency", 8.0)
WARM_UP_SECONDS = 1.0
#: After so many points in a row that could not be measured, the server is not asked again.
MOST_FAILED = 3
#: A point with fewer answers is measured so many times longer, up to so many times in all.
LEAST_ANSWERED = 20
LONGER, MOST_TRIES = 4, 3


@dataclass(frozen=True)
class Plan:
    """What is asked for.

    Attributes:
        ensembles: to be put under load, one after the other.
        protocols: by which each is asked.
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
class Generators:
    """What makes load: perf_analyzer's environment, and Locust where the facade is asked."""

    perf_analyzer: Mapping[str, str]
    locust: Locust | None


@dataclass(frozen=True)
class Step:
    """One point that is done.

    Attributes:
        name: of the point.
        point: what was found; None where it could not be measured.
        problem: why not.
        seconds: that it took; 0 for one that was finished before.
    """

    name: str
    point: Point | None
    problem: str = ""
    seconds: float = 0.0


@dataclass
class Sweeper:
    """Measures a plan.

    Args:
        plan: what is asked for.
        addresses: of the servers.
        state: asks Triton.
        generators: what makes load.
        store: keeps points.
        data: folder for the requests.
        conditions: all else that results depend on, such as versions.
        check: raises why, when a server has died.
        on_start: called with the name of a point that is about to be measured.
    """

    plan: Plan
    addresses: Addresses
    state: TritonState
    generators: Generators
    store: Store
    data: Path
    conditions: Mapping[str, str]
    check: Callable[[], None]
    on_start: Callable[[str], None] = field(default=lambda name: None)

    def steps(self) -> Iterator[Step]:
        """Measure point after point.

        Raises:
            LoadError: Triton does not answer any more, or point after point fails.
            ServerError: from ``check``.
        """
        failed = 0
        for step in self._all():
            yield step
            self.check()
            failed = failed + 1 if step.point is None else 0
            if failed == MOST_FAILED:
                raise LoadError(f"Gave up after {failed} points in a row that could not be measured: {step.problem}")

    def _all(self) -> Iterator[Step]:
        for ensemble in self.plan.ensembles:
            traffic = write_traffic(ensemble, self.data)
            for protocol in self.plan.protocols:
                yield from self._sweep(ensemble, protocol, traffic)

    def _sweep(self, ensemble: Ensemble, protocol: Protocol, traffic: Traffic) -> Iterator[Step]:
        fingerprint = self._fingerprint(ensemble, protocol, traffic)
        warm = False
        highest: list[float] = []
        for level in self.plan.concurrency:
            step = self._step(ensemble, protocol, level, traffic, fingerprint, warm)
            warm = warm or step.seconds > 0
            if step.point is not None:
                highest.append(step.point.load.throughput)
            yield step
        for level in self.plan.rates.levels(max(highest, default=None)):
            step = self._step(ensemble, protocol, level, traffic, fingerprint, warm)
            warm = warm or step.seconds > 0
            yield step

    def _step(
        self, ensemble: Ensemble, protocol: Protocol, level: Level, traffic: Traffic, fingerprint: str, warm: bool
    ) -> Step:
        name = f"{ensemble.name} {protocol} {level}"
        found = None if self.plan.fresh else self.store.find(ensemble.name, protocol, level, fingerprint)
        if found is not None:
            return Step(name, found)
        self.on_start(name)
        began = time.monotonic()
        try:
            if not warm:
                self._warm_up(ensemble, protocol, traffic)
            folder_of_sweep = self.store.place(ensemble.name, protocol)
            seconds, load, window = self._measure_long_enough(ensemble, protocol, level, traffic, folder_of_sweep)
        except PointError as error:
            return Step(name, None, str(error), time.monotonic() - began)
        point = Point(
            ensemble=ensemble.name,
            protocol=protocol,
            mode=level.mode,
            value=level.value,
            seconds=seconds,
            fingerprint=fingerprint,
            measured=datetime.now(UTC).isoformat(timespec="seconds"),
            load=load,
            window=window,
        )
        self.store.keep(point)
        return Step(name, point, seconds=time.monotonic() - began)

    def _measure_long_enough(
        self, ensemble: Ensemble, protocol: Protocol, level: Level, traffic: Traffic, folder: Path
    ) -> tuple[float, Load, Window]:
        seconds = self.plan.seconds
        for _ in range(MOST_TRIES - 1):
            with contextlib.suppress(TooShortError):
                load, window = self._measure(ensemble, protocol, level, traffic, seconds, folder)
                if load.requests >= LEAST_ANSWERED:
                    return seconds, load, window
            seconds *= LONGER
        return seconds, *self._measure(ensemble, protocol, level, traffic, seconds, folder)

    def _warm_up(self, ensemble: Ensemble, protocol: Protocol, traffic: Traffic) -> None:
        # Locust has a warm-up of its own at every point. A slow model may answer nothing in so short a time.
        if protocol != "facade":
            with tempfile.TemporaryDirectory(prefix="trident-load-") as folder, contextlib.suppress(PointError):
                self._measure(ensemble, protocol, WARM_UP, traffic, WARM_UP_SECONDS, Path(folder))

    def _measure(
        self, ensemble: Ensemble, protocol: Protocol, level: Level, traffic: Traffic, seconds: float, folder: Path
    ) -> tuple[Load, Window]:
        probe = Probe(self.state, ensemble)
        url = self.addresses.of(protocol)
        if protocol == "facade":
            if self.generators.locust is None:
                raise PointError("Locust is not installed")
            return facade_load.measure(self.generators.locust, url, traffic.facade, level, seconds, folder, probe)
        command = triton_load.command(ensemble.name, protocol, url, traffic.triton, level, seconds)
        return triton_load.measure(command, level, seconds, folder, self.generators.perf_analyzer, probe)

    def _fingerprint(self, ensemble: Ensemble, protocol: Protocol, traffic: Traffic) -> str:
        sent = traffic.facade if protocol == "facade" else traffic.triton
        told: dict[str, Any] = {
            "seconds": self.plan.seconds,
            "configurations": ensemble.configurations,
            "data": hashlib.sha256(sent.read_bytes()).hexdigest(),
            "conditions": dict(self.conditions),
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
