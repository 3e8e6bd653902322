"""Asks a server and takes the times."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from trident_client import AsyncTridentClient, Request, Retry, Timeout
from tritonclient.grpc.service_pb2 import ModelStatistics

from trident_bench.ensembles import Ensemble
from trident_bench.errors import BenchError
from trident_bench.generator.loop import Ask, Connector, Sample, closed_loop
from trident_bench.profiling.client_times import TRANSPORTS, ClientTimes, Recorder
from trident_bench.profiling.stages import Stage, Step, by_statistics, by_trace, mean_microseconds, steps
from trident_bench.profiling.trace import Traced, between
from trident_bench.triton import TritonState

#: A model that does nothing, in a process of its own as every Python model: what reaching one costs.
IDLE = "trident_idle"
IDLE_CONFIGURATION = """backend: "python"
max_batch_size: 64
input [ { name: "IN" data_type: TYPE_INT32 dims: [ -1 ] } ]
output [ { name: "OUT" data_type: TYPE_INT32 dims: [ -1 ] } ]
dynamic_batching { }
instance_group [ { count: 1 kind: KIND_CPU } ]
"""
IDLE_MODEL = '''"""Answers with what it is given."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        given = [pb_utils.get_input_tensor_by_name(request, "IN").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", each)]) for each in given]
'''
IDLE_TOKENS = 16
COMPUTE = ("compute_input", "compute_infer", "compute_output")
MICROSECONDS = 1e6
READ_TIMEOUT = 120.0


@dataclass(frozen=True)
class Measured:
    """One ensemble under one load, before its times are cut into stages."""

    ensemble: Ensemble
    in_flight: int
    sample: Sample
    client: ClientTimes
    before: Mapping[str, ModelStatistics]
    after: Mapping[str, ModelStatistics]
    begun: int
    ended: int


@dataclass(frozen=True)
class Level:
    """One ensemble under one load.

    Attributes:
        ensemble: its name.
        in_flight: requests under way at once.
        throughput: requests a second.
        mean: of a request, in microseconds; the stages add up to it.
        p50: median, in microseconds.
        p99: in microseconds.
        source: of the server's stages: ``trace`` or ``statistics``.
        alone: whether nobody else used the server's models meanwhile.
        stages: in the order of the request's way.
        steps: what each composing model did.
    """

    ensemble: str
    in_flight: int
    throughput: float
    mean: float
    p50: float
    p99: float
    source: str
    alone: bool
    stages: tuple[Stage, ...]
    steps: tuple[Step, ...]


def new_client(url: str, protocol: str) -> AsyncTridentClient:
    """Return a client with a clock; a failed request is not made again, for its time would be two requests'.

    Raises:
        BenchError: the address is none.
    """
    try:
        transport = TRANSPORTS[protocol](url, Timeout(read=READ_TIMEOUT))
    except ValueError as error:
        raise BenchError(f"{url} is no host:port ({error}).") from error
    return AsyncTridentClient(url, transport=transport, retry=Retry(attempts=1))


def through(ask: Ask) -> Connector:
    """Let the load generator ask through a function rather than over connections of its own."""

    async def connect(stack: AsyncExitStack, count: int) -> list[Ask]:
        return [ask] * count

    return connect


async def measure(
    client: AsyncTridentClient, state: TritonState, ensemble: Ensemble, in_flight: int, warm_up: float, seconds: float
) -> Measured:
    """Load one ensemble, and take the times once it is warm."""

    def ask(item: Any) -> Any:
        return ensemble.ask(client, item)

    items = ensemble.items()
    if warm_up > 0:
        await closed_loop(through(ask), items, in_flight, warm_up, turns=1, warm_up=0)
    recorder = Recorder(ask)
    before = state.statistics(ensemble.models)
    begun = time.monotonic_ns()
    sample = await closed_loop(through(recorder), items, in_flight, seconds, turns=1, warm_up=0)
    ended = time.monotonic_ns()
    after = state.statistics(ensemble.models)
    return Measured(ensemble, in_flight, sample, ClientTimes.mean(recorder.times), before, after, begun, ended)


def finish(measured: Measured, traced: Sequence[Traced] | None) -> Level:
    """Cut a measurement's times into stages, by the trace where there is one."""
    ensemble, client = measured.ensemble, measured.client
    mine = between(traced, ensemble, measured.begun, measured.ended) if traced is not None else []
    done = steps(ensemble, measured.before, measured.after)
    if mine:
        stages = by_trace(ensemble, client, mine)
    else:
        stages = by_statistics(ensemble, client, measured.before, measured.after)
    return Level(
        ensemble=ensemble.name,
        in_flight=measured.in_flight,
        throughput=measured.sample.rate,
        mean=client.total,
        p50=measured.sample.quantile(0.5) * MICROSECONDS,
        p99=measured.sample.quantile(0.99) * MICROSECONDS,
        source="trace" if mine else "statistics",
        alone=_is_alone(client.requests, done),
        stages=tuple(stages),
        steps=tuple(done),
    )


def add_idle(repository: Path) -> None:
    """Put the model that does nothing into a repository."""
    version = repository / IDLE / "1"
    version.mkdir(parents=True)
    (version.parent / "config.pbtxt").write_text(IDLE_CONFIGURATION)
    (version / "model.py").write_text(IDLE_MODEL)


async def idle_microseconds(client: AsyncTridentClient, state: TritonState, seconds: float) -> float:
    """Return what Triton needs to hand a few numbers to a Python model and take them back, one request at a time."""
    given = np.zeros((1, IDLE_TOKENS), dtype=np.int32)

    async def ask(item: object) -> None:
        await client.infer(Request(IDLE, {"IN": given}, ("OUT",)))

    await closed_loop(through(ask), [None], 1, seconds / 4, turns=1, warm_up=0)
    before = state.statistics([IDLE])[IDLE]
    await closed_loop(through(ask), [None], 1, seconds, turns=1, warm_up=0)
    return mean_microseconds(before, state.statistics([IDLE])[IDLE], *COMPUTE)


async def bytes_moved(client: AsyncTridentClient, ensemble: Ensemble) -> dict[str, tuple[int, int]]:
    """Return the bytes into and out of each of an ensemble's models, for one middling item.

    Its models are asked one after the other for what it would ask them; its optional inputs are left out.
    """
    items = sorted(ensemble.items(), key=lambda item: len("".join(item)))
    tensors: dict[str, npt.NDArray[Any]] = dict(ensemble.tensors(items[len(items) // 2]))
    found = {}
    for step in ensemble.scheduling:
        inputs = {name: tensors[tensor] for name, tensor in step.input_map.items() if tensor in tensors}
        outputs = await client.infer(Request(step.model_name, inputs, tuple(step.output_map)))
        tensors |= {step.output_map[name]: array for name, array in outputs.items()}
        found[step.model_name] = (sizes(inputs), sizes(outputs))
    return found


def sizes(tensors: Mapping[str, npt.NDArray[Any]]) -> int:
    """Return the bytes of tensors as they are passed on; a text has its length before it, in four bytes."""
    return sum(
        sum(4 + len(text) for text in array.reshape(-1)) if array.dtype == np.object_ else int(array.nbytes)
        for array in tensors.values()
    )


def _is_alone(requests: int, done: Sequence[Step]) -> bool:
    # Triton counts a request a moment after it was answered: a few may be missing, or belong to the warm-up.
    return all(abs(each.requests - requests) <= max(2, requests // 20) for each in done)
