"""What Triton and the machine do while a load is on, from two looks at what they have counted."""

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

#: Share of the load's time that lies between the two looks: its end, when queues run dry, is left out.
LOOKED_AT = 0.9
NANOSECONDS = 1e9
COMPUTE = ("compute_input", "compute_infer", "compute_output")


class StageUse(BaseModel):
    """What one composing model did between two looks.

    Attributes:
        name: of the model.
        instances: how many of it there are.
        requests: answered.
        items: that they held; the facade sends several in one.
        executions: batches computed.
        queue_ms: wait for an instance, on average over requests.
        compute_ms: time of the batch that a request was in, input and output included, on average over requests.
        busy: share of the time that its instances computed: time of all executions / (wall time x instances). Above 1
            where an instance computes several at a time.
    """

    name: str
    instances: int = Field(ge=1)
    requests: int
    items: int
    executions: int
    queue_ms: float
    compute_ms: float
    busy: float

    @property
    def batch(self) -> float:
        """Items in an execution, on average."""
        return self.items / self.executions if self.executions else 0.0


class Window(BaseModel):
    """What happened between two looks.

    Attributes:
        seconds: between them.
        stages: what each composing model did, in the order of the ensemble's steps.
        cores: that the machine has.
        cores_busy: share of all cores' time in which they did anything.
        generator_busy: share of all cores' time that the load generator took.
    """

    seconds: float
    stages: list[StageUse]
    cores: int
    cores_busy: float
    generator_busy: float


@dataclass(frozen=True)
class Look:
    """What had been counted at one time."""

    at: float
    counted: Mapping[str, ModelStatistics]
    idle: float
    generator: float

    @property
    def executions(self) -> int:
        """Of all composing models."""
        return sum(each.execution_count for each in self.counted.values())


class Probe:
    """Looks at an ensemble's composing models, at the machine and at a load generator.

    Args:
        state: asks Triton.
        ensemble: whose composing models are looked at.
    """

    def __init__(self, state: TritonState, ensemble: Ensemble) -> None:
        self._state = state
        self._ensemble = ensemble

    def look(self, generator: int) -> Look:
        """Look now; ``generator`` is the generator's process id."""
        counted = self._state.statistics(self._ensemble.steps)
        times = psutil.cpu_times()
        try:
            used = psutil.Process(generator).cpu_times()
            spent = used.user + used.system
        except psutil.Error:
            spent = 0.0
        return Look(time.monotonic(), counted, times.idle + times.iowait, spent)

    async def watch(self, warm_up: float, seconds: float) -> Window:
        """Look twice while this process makes load."""
        await asyncio.sleep(warm_up)
        first = await asyncio.to_thread(self.look, os.getpid())
        await asyncio.sleep(LOOKED_AT * seconds)
        return self.between(first, await asyncio.to_thread(self.look, os.getpid()))

    def failures(self) -> int:
        """Return how many requests of the ensemble itself have failed so far."""
        name = self._ensemble.name
        return int(self._state.statistics([name])[name].inference_stats.fail.count)

    def between(self, first: Look, last: Look) -> Window:
        """Return what happened between two looks."""
        seconds = max(last.at - first.at, 1e-9)
        cores = os.cpu_count() or 1
        return Window(
            seconds=seconds,
            stages=[
                stage_use(name, self._ensemble.instances(name), first.counted[name], last.counted[name], seconds)
                for name in self._ensemble.steps
            ],
            cores=cores,
            cores_busy=_share(1 - (last.idle - first.idle) / (seconds * cores)),
            generator_busy=_share((last.generator - first.generator) / (seconds * cores)),
        )


def stage_use(name: str, instances: int, first: ModelStatistics, last: ModelStatistics, seconds: float) -> StageUse:
    """Return what a model did between two of Triton's answers about its statistics.

    ``inference_stats`` counts a batch's time once for each of its requests, ``batch_stats`` once for each execution
    (Triton's statistics extension): the first tells what a request waits for, the second how busy an instance is.
    """
    new, old = last.inference_stats, first.inference_stats
    requests = new.success.count - old.success.count

    def mean_ms(*durations: str) -> float:
        spent = sum(getattr(new, each).ns - getattr(old, each).ns for each in durations)
        return spent / requests / 1e6 if requests else 0.0

    return StageUse(
        name=name,
        instances=instances,
        requests=requests,
        items=last.inference_count - first.inference_count,
        executions=last.execution_count - first.execution_count,
        queue_ms=mean_ms("queue"),
        compute_ms=mean_ms(*COMPUTE),
        busy=max(0.0, (_execution_seconds(last) - _execution_seconds(first)) / (seconds * instances)),
    )


def _execution_seconds(counted: ModelStatistics) -> float:
    return float(sum(getattr(batch, part).ns for batch in counted.batch_stats for part in COMPUTE) / NANOSECONDS)


def _share(value: float) -> float:
    # Clocks of several sources differ a little.
    return min(max(value, 0.0), 1.0)
