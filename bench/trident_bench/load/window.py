"""What Triton and the machine do while a load is on, from two readings of their counters."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

import psutil
from pydantic import BaseModel, Field
from tritonclient.grpc.service_pb2 import ModelStatistics

from trident_bench.ensembles import Ensemble
from trident_bench.triton import TritonState
from trident_bench.usage import ModelUsage, usage

#: Share of the load's time between the two readings: its end, when queues run dry, is left out.
READ_SHARE = 0.9


class StageUsage(ModelUsage):
    """What one composing model did.

    Attributes:
        instances: how many of it there are.
        busy: share of the time that its instances computed: time of all executions / (wall time x instances). Above 1
            where an instance computes several at a time.
    """

    instances: int = Field(ge=1)
    busy: float


class Window(BaseModel):
    """What happened between two readings.

    Attributes:
        seconds: between them.
        stages: what each composing model did, in the order of the ensemble's steps.
        cores: that the machine has.
        cores_busy: share of all cores' time in which they did anything.
        generator_busy: share of all cores' time that the load generator took.
    """

    seconds: float
    stages: list[StageUsage]
    cores: int
    cores_busy: float
    generator_busy: float


@dataclass(frozen=True)
class Reading:
    """The counters at one time, in seconds where they are times."""

    at: float
    statistics: Mapping[str, ModelStatistics]
    idle: float
    generator: float

    @property
    def executions(self) -> int:
        """Of all composing models."""
        return sum(each.execution_count for each in self.statistics.values())


class Probe:
    """Reads the counters of an ensemble's composing models, of the machine and of a load generator.

    Args:
        state: asks Triton.
        ensemble: whose composing models are read.
    """

    def __init__(self, state: TritonState, ensemble: Ensemble) -> None:
        self._state = state
        self._ensemble = ensemble

    def read(self, generator: int) -> Reading:
        """Read now; ``generator`` is the generator's process id."""
        statistics = self._state.statistics(self._ensemble.steps)
        times = psutil.cpu_times()
        try:
            used = psutil.Process(generator).cpu_times()
            spent = used.user + used.system
        except psutil.Error:
            spent = 0.0
        return Reading(time.monotonic(), statistics, times.idle + times.iowait, spent)

    async def watch(self, warm_up: float, seconds: float) -> Window:
        """Read twice while this process makes load."""
        await asyncio.sleep(warm_up)
        first = await asyncio.to_thread(self.read, os.getpid())
        await asyncio.sleep(READ_SHARE * seconds)
        return self.between(first, await asyncio.to_thread(self.read, os.getpid()))

    def failures(self) -> int:
        """Return how many requests of the ensemble itself have failed so far."""
        name = self._ensemble.name
        return int(self._state.statistics([name])[name].inference_stats.fail.count)

    def between(self, first: Reading, last: Reading) -> Window:
        """Return what happened between two readings."""
        seconds = max(last.at - first.at, 1e-9)
        cores = os.cpu_count() or 1
        return Window(
            seconds=seconds,
            stages=[
                stage_usage(first.statistics[name], last.statistics[name], self._ensemble.instances(name), seconds)
                for name in self._ensemble.steps
            ],
            cores=cores,
            cores_busy=_share(1 - (last.idle - first.idle) / (seconds * cores)),
            generator_busy=_share((last.generator - first.generator) / (seconds * cores)),
        )


def stage_usage(before: ModelStatistics, after: ModelStatistics, instances: int, seconds: float) -> StageUsage:
    """Return what a composing model with so many instances did in so many seconds."""
    found = usage(before, after)
    busy = found.computing_seconds / (seconds * instances)
    return StageUsage(**found.model_dump(), instances=instances, busy=busy)


def _share(value: float) -> float:
    # Clocks of several sources differ a little.
    return min(max(value, 0.0), 1.0)
