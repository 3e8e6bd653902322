"""Asks a server and takes the times."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from google.protobuf import json_format
from trident_client import AsyncTridentClient, ModelStatistics, Request, Retry, Timeout
from trident_client.errors import TransportError, TridentError
from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident_bench.profiling.clocked import CLOCKED, ClientTimes, Clocked
from trident_bench.profiling.stages import MICROSECONDS, Stage, Step, by_statistics, by_trace, steps
from trident_bench.profiling.trace import Traced, between
from trident_bench.stand.ensembles import Ensemble, choose, read, walk
from trident_bench.stand.errors import StandError
from trident_bench.stand.load import Load, drive

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
COMPUTE = ("compute_input_seconds", "compute_infer_seconds", "compute_output_seconds")


@dataclass(frozen=True)
class Measured:
    """One ensemble under one load, before its times are cut into stages."""

    ensemble: Ensemble
    in_flight: int
    load: Load
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


def transport(url: str, protocol: str) -> AsyncTridentClient:
    """Return a client with a clock; a failed request is not made again, for its time would be two requests'."""
    try:
        carrier = CLOCKED[protocol](url, Timeout(read=120.0))
    except ValueError as error:
        raise StandError(f"{url} is no host:port ({error}).") from error
    return AsyncTridentClient(url, transport=carrier, retry=Retry(attempts=1))


async def served_ensembles(url: str, protocol: str, names: Sequence[str]) -> list[Ensemble]:
    """Ask a running server for its ensembles and return those that are named.

    Raises:
        StandError: nothing answers there, or one is not served.
    """
    carrier = CLOCKED[protocol](url, Timeout())
    try:
        models = await carrier.index()
        configurations = [(name, await carrier.configuration(name)) for name in sorted(models)]
    except TransportError as error:
        raise StandError(f"No Triton answers over {protocol} at {url}: {error}") from error
    except TridentError as error:
        raise StandError(f"{url} does not answer as a Triton over {protocol}: {error}") from error
    finally:
        await carrier.close()
    parsed = (
        (name, json_format.ParseDict(dict(each), ModelConfig(), ignore_unknown_fields=True))
        for name, each in configurations
    )
    return choose(read(parsed), names)


async def measure(
    client: AsyncTridentClient, ensemble: Ensemble, in_flight: int, warm_up: float, seconds: float
) -> Measured:
    """Load one ensemble, and take the times once it is warm."""
    ask: Callable[[object], Awaitable[object]] = partial(ensemble.task.ask, client, ensemble.name)
    items = ensemble.items()
    await drive(ask, items, in_flight, warm_up)
    clocked = Clocked(ask)
    before = await _statistics(client)
    begun = time.monotonic_ns()
    load = await drive(clocked, items, in_flight, seconds)
    ended = time.monotonic_ns()
    after = await _statistics(client)
    return Measured(ensemble, in_flight, load, ClientTimes.mean(clocked.times), before, after, begun, ended)


def finish(measured: Measured, traced: Sequence[Traced] | None) -> Level:
    """Cut a measurement's times into stages, by the trace where there is one."""
    ensemble, client = measured.ensemble, measured.client
    mine = between(traced, ensemble, measured.begun, measured.ended) if traced is not None else []
    done = steps(ensemble, measured.before, measured.after)
    return Level(
        ensemble=ensemble.name,
        in_flight=measured.in_flight,
        throughput=measured.load.throughput,
        mean=client.total,
        p50=measured.load.quantile(0.5) * MICROSECONDS,
        p99=measured.load.quantile(0.99) * MICROSECONDS,
        source="trace" if mine else "statistics",
        alone=_is_alone(client.requests, done),
        stages=tuple(
            by_trace(ensemble, client, mine)
            if mine
            else by_statistics(ensemble, client, measured.before, measured.after)
        ),
        steps=tuple(done),
    )


def add_idle(repository: Path) -> None:
    """Put the model that does nothing into a repository."""
    version = repository / IDLE / "1"
    version.mkdir(parents=True)
    (version.parent / "config.pbtxt").write_text(IDLE_CONFIGURATION)
    (version / "model.py").write_text(IDLE_MODEL)


async def idle_microseconds(client: AsyncTridentClient, seconds: float) -> float:
    """Return what Triton needs to hand a few numbers to a Python model and take them back, one request at a time."""
    given = np.zeros((1, IDLE_TOKENS), dtype=np.int32)

    async def ask(item: object) -> None:
        await client.infer(Request(IDLE, {"IN": given}, ("OUT",)))

    await drive(ask, [None], 1, seconds / 4)
    before = (await _statistics(client))[IDLE]
    await drive(ask, [None], 1, seconds)
    after = (await _statistics(client))[IDLE]
    spent = sum(getattr(after, each) - getattr(before, each) for each in COMPUTE)
    requests = after.successes - before.successes
    return float(spent / max(1, requests) * MICROSECONDS)


async def carried(client: AsyncTridentClient, ensemble: Ensemble) -> dict[str, tuple[int, int]]:
    """Return the bytes that go into and come out of each of an ensemble's models: those of a middling item."""
    items = sorted(ensemble.items(), key=lambda item: len(item if isinstance(item, str) else "".join(item)))
    return await walk(client, ensemble, items[len(items) // 2])


def _is_alone(requests: int, done: Sequence[Step]) -> bool:
    # Triton counts a request a moment after it was answered: a few may be missing, or belong to the warm-up.
    return all(abs(each.requests - requests) <= max(2, requests // 20) for each in done)


async def _statistics(client: AsyncTridentClient) -> dict[str, ModelStatistics]:
    return {each.name: each for each in await client.statistics()}
