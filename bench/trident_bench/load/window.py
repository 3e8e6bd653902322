"""A look at Triton and at the machine while a load generator works, from which shares of time are told."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
from pydantic import BaseModel, Field

from trident_bench.load.ensembles import Ensemble, TritonState
from trident_bench.load.errors import PointError

POLL_SECONDS = 0.02
#: Share of the load's time that lies between the two looks: its end, when queues run dry, is left out.
LOOKED_AT = 0.9
NANOSECONDS = 1e9


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
    counted: Mapping[str, Mapping[str, Any]]
    idle: float
    generator: float


class Probe:
    """Looks at an ensemble's composing models, at the machine and at a load generator.

    Args:
        state: asks Triton.
        ensemble: whose composing models are looked at.
    """

    def __init__(self, state: TritonState, ensemble: Ensemble) -> None:
        self._state = state
        self._stages = ensemble.stages
        self._name = ensemble.name

    def look(self, generator: int) -> Look:
        """Look now; ``generator`` is the generator's process id."""
        counted = self._state.statistics([stage.name for stage in self._stages])
        times = psutil.cpu_times()
        try:
            used = psutil.Process(generator).cpu_times()
            spent = used.user + used.system
        except psutil.Error:
            spent = 0.0
        return Look(time.monotonic(), counted, times.idle + times.iowait, spent)

    def failures(self) -> int:
        """Return how many requests of the ensemble itself have failed so far."""
        return int(self._state.statistics([self._name])[self._name]["inference_stats"]["fail"]["count"])

    def between(self, first: Look, last: Look) -> Window:
        """Return what happened between two looks."""
        seconds = max(last.at - first.at, 1e-9)
        cores = os.cpu_count() or 1
        return Window(
            seconds=seconds,
            stages=[
                stage_use(stage.name, stage.instances, first.counted[stage.name], last.counted[stage.name], seconds)
                for stage in self._stages
            ],
            cores=cores,
            cores_busy=_share(1 - (last.idle - first.idle) / (seconds * cores)),
            generator_busy=_share((last.generator - first.generator) / (seconds * cores)),
        )


def stage_use(name: str, instances: int, first: Mapping[str, Any], last: Mapping[str, Any], seconds: float) -> StageUse:
    """Return what a model did between two of Triton's answers about its statistics.

    ``inference_stats`` counts a batch's time once for each of its requests, ``batch_stats`` once for each execution
    (Triton's statistics extension): the first tells what a request waits for, the second how busy an instance is.
    """
    requests = _inference(last, "success", "count") - _inference(first, "success", "count")
    items, executions = (int(last[each]) - int(first[each]) for each in ("inference_count", "execution_count"))

    def mean_ms(*durations: str) -> float:
        spent = sum(_inference(last, each, "ns") - _inference(first, each, "ns") for each in durations)
        return spent / requests / 1e6 if requests else 0.0

    return StageUse(
        name=name,
        instances=instances,
        requests=requests,
        items=items,
        executions=executions,
        queue_ms=mean_ms("queue"),
        compute_ms=mean_ms("compute_input", "compute_infer", "compute_output"),
        busy=max(0.0, (_execution_seconds(last) - _execution_seconds(first)) / (seconds * instances)),
    )


def watch(
    process: subprocess.Popen[str],
    probe: Probe,
    seconds: float,
    timeout: float,
    has_begun: Callable[[], bool],
) -> Window:
    """Wait for a load generator to end, with two looks while its load lasts.

    Args:
        process: the generator.
        probe: looks.
        seconds: that its load lasts.
        timeout: seconds after which it is given up.
        has_begun: whether its load has begun.

    Raises:
        PointError: it took too long.
    """
    deadline = time.monotonic() + timeout
    first: Look | None = None
    last: Look | None = None
    while process.poll() is None:
        if first is None and has_begun():
            first = probe.look(process.pid)
        elif first is not None and last is None and time.monotonic() - first.at >= LOOKED_AT * seconds:
            last = probe.look(process.pid)
        if time.monotonic() > deadline:
            raise PointError(f"the load generator did not end within {timeout:.0f} s")
        time.sleep(POLL_SECONDS)
    # One that ended early has failed, and says so itself.
    end = last or probe.look(process.pid)
    return probe.between(first or end, end)


def stop(process: subprocess.Popen[str]) -> None:
    """End a load generator, if it still runs."""
    if process.poll() is None:
        process.kill()
    process.wait()


def _inference(counted: Mapping[str, Any], duration: str, field: str) -> int:
    return int(counted["inference_stats"][duration][field])


def _execution_seconds(counted: Mapping[str, Any]) -> float:
    batches: Sequence[Mapping[str, Any]] = counted.get("batch_stats", [])
    parts = ("compute_input", "compute_infer", "compute_output")
    return sum(int(batch[part]["ns"]) for batch in batches for part in parts) / NANOSECONDS


def _share(value: float) -> float:
    # Clocks of several sources differ a little.
    return min(max(value, 0.0), 1.0)
