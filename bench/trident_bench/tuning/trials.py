"""One trial: a server of some models under some configuration, loaded for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from trident_client import AsyncTridentClient, Retry, Timeout
from trident_client.errors import TridentError

from trident_bench.stand.ensembles import Ensemble
from trident_bench.stand.errors import StandError
from trident_bench.stand.load import Load, drive
from trident_bench.stand.overlay import lay_over
from trident_bench.stand.server import served
from trident_bench.tuning.study import Measurement

#: A request that takes longer means that the configuration is no good.
READ_TIMEOUT = 60.0


@dataclass(frozen=True)
class Stand:
    """What every trial has in common.

    Attributes:
        repository: whose models are served; it is not written to.
        ensemble: what is asked.
        in_flight: requests at once.
        warm_up: seconds of load before any is counted.
        seconds: of load that are counted.
        runner: runs every load; gRPC's channels do not outlive, nor change, the event loop that the first was made in.
    """

    repository: Path
    ensemble: Ensemble
    in_flight: int
    warm_up: float
    seconds: float
    runner: asyncio.Runner

    def measure(self, changed: Mapping[str, str]) -> Measurement:
        """Serve with these configurations, by model, and load.

        Raises:
            StandError: the server did not start, or a request failed.
        """
        with TemporaryDirectory(prefix="trident-tune-") as name:
            folder = Path(name)
            copy = lay_over(self.repository, self.ensemble.models, folder / "models", changed)
            with served(copy, folder) as triton:
                self._load(triton.grpc_url, self.warm_up)
                return _measurement(self._load(triton.grpc_url, self.seconds))

    def compare(self, changed: Mapping[str, str], name: str, rounds: int) -> list[tuple[Measurement, Measurement]]:
        """Measure the repository as it is and with named configurations in turns, so that drift cancels.

        Both servers run all the while, and one of them is loaded. The second is started as a host would start it, with
        ``--model-config-name``.

        Returns:
            Of each round, the repository as it is and with the configurations.

        Raises:
            StandError: a server did not start, or a request failed.
        """
        with ExitStack() as stack:
            urls = []
            for texts, config_name in (({}, None), (changed, name)):
                folder = Path(stack.enter_context(TemporaryDirectory(prefix="trident-tune-")))
                copy = lay_over(self.repository, self.ensemble.models, folder / "models", texts, config_name)
                urls.append(stack.enter_context(served(copy, folder, config_name=config_name)).grpc_url)
            for url in urls:
                self._load(url, self.warm_up)
            return [self._round(urls, number) for number in range(rounds)]

    def _round(self, urls: Sequence[str], number: int) -> tuple[Measurement, Measurement]:
        # The order changes: whoever is first may have the warmer, or the cooler, machine.
        order = (0, 1) if number % 2 == 0 else (1, 0)
        found = {place: _measurement(self._load(urls[place], self.seconds)) for place in order}
        return found[0], found[1]

    def _load(self, url: str, seconds: float) -> Load:
        try:
            return self.runner.run(self._drive(url, seconds))
        except TridentError as error:
            raise StandError(f"A request failed: {error}") from error

    async def _drive(self, url: str, seconds: float) -> Load:
        timeout = Timeout(read=READ_TIMEOUT)
        async with AsyncTridentClient(url, protocol="grpc", timeout=timeout, retry=Retry(attempts=1)) as client:
            ask = partial(self.ensemble.task.ask, client, self.ensemble.name)
            return await drive(ask, self.ensemble.items(), self.in_flight, seconds)


def _measurement(load: Load) -> Measurement:
    return Measurement(load.throughput, load.quantile(0.99))
