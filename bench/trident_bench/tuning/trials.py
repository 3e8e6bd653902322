"""One trial: a server of some models under some configuration, loaded for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from trident_bench.ensembles import Ensemble
from trident_bench.generator.loop import closed_loop
from trident_bench.generator.requests import WIRES
from trident_bench.options import MeasureOptions
from trident_bench.repository import link_models
from trident_bench.servers import served
from trident_bench.tuning.verdict import Measurement


@dataclass(frozen=True)
class TrialRunner:
    """What every trial has in common.

    Attributes:
        repository: whose models are served; it is not written to.
        ensemble: what is loaded.
        options: of the load.
        loop: runs the load.
    """

    repository: Path
    ensemble: Ensemble
    options: MeasureOptions
    loop: asyncio.Runner

    def measure(self, changed: Mapping[str, str]) -> Measurement:
        """Serve with these configurations, by model, and load.

        Raises:
            BenchError: the server did not start, or a request failed.
        """
        with TemporaryDirectory(prefix="trident-tune-") as name:
            folder = Path(name)
            copy = link_models(self.repository, self.ensemble.models, folder / "models", changed)
            with served(copy, folder) as addresses:
                return self._load(addresses.of("grpc"), self.options.seconds, self.options.warm_up)

    def compare(self, changed: Mapping[str, str], name: str, rounds: int) -> list[tuple[Measurement, Measurement]]:
        """Measure the repository as it is and with named configurations in turns, so that drift cancels.

        Both servers run all the while, and one of them is loaded. The second is started as a host would start it, with
        ``--model-config-name``.

        Returns:
            Of each round, the repository as it is and with the configurations.

        Raises:
            BenchError: a server did not start, or a request failed.
        """
        with ExitStack() as stack:
            urls = []
            for texts, config_name in (({}, None), (changed, name)):
                folder = Path(stack.enter_context(TemporaryDirectory(prefix="trident-tune-")))
                copy = link_models(self.repository, self.ensemble.models, folder / "models", texts, config_name)
                urls.append(stack.enter_context(served(copy, folder, config_name=config_name)).of("grpc"))
            for url in urls:
                self._load(url, self.options.warm_up, 0)
            return [self._round(urls, number) for number in range(rounds)]

    def _round(self, urls: Sequence[str], number: int) -> tuple[Measurement, Measurement]:
        # The order changes: whoever is first may have the warmer, or the cooler, machine.
        order = (0, 1) if number % 2 == 0 else (1, 0)
        found = {place: self._load(urls[place], self.options.seconds, 0) for place in order}
        return found[0], found[1]

    def _load(self, url: str, seconds: float, warm_up: float) -> Measurement:
        wire = WIRES["grpc"]
        requests = [wire.request(url, self.ensemble, item) for item in self.ensemble.items()]
        load = closed_loop(wire.connect(url), requests, self.options.in_flight, seconds, turns=1, warm_up=warm_up)
        sample = self.loop.run(load)
        return Measurement(sample.rate, sample.quantile(0.99))
