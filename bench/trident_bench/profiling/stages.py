"""The arithmetic: a request's time cut into stages that add up to the whole of it.

Two sources tell of the server's part. Its *statistics* are sums for each model, which any server has; they overlap a
little, for Triton counts a model's time until the model has tidied up, when its answer has long gone on. Its *trace*
has each request's own times, which follow one another without a gap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tritonclient.grpc.service_pb2 import ModelStatistics

from trident_bench.ensembles import Ensemble
from trident_bench.profiling.client_times import ClientTimes
from trident_bench.profiling.trace import Traced

CLIENT, NETWORK, TRITON = "client", "network", "Triton"
NANOSECONDS_IN_MICROSECOND = 1e3
#: What a model does with a request, in this order: as Triton's statistics have it, and in words.
MODEL_STAGES = {
    "queue": "queue",
    "compute_input": "compute input",
    "compute_infer": "compute infer",
    "compute_output": "compute output",
}


@dataclass(frozen=True)
class Stage:
    """One part of a request's time.

    Attributes:
        part: where: the client, the network, Triton, or a model's name.
        name: what is done there.
        microseconds: mean of a request.
    """

    part: str
    name: str
    microseconds: float


@dataclass(frozen=True)
class Step:
    """What a composing model did meanwhile.

    Attributes:
        model: its name.
        requests: that it answered.
        batch: mean items of an execution.
    """

    model: str
    requests: int
    batch: float


def steps(
    ensemble: Ensemble, before: Mapping[str, ModelStatistics], after: Mapping[str, ModelStatistics]
) -> list[Step]:
    """Return what each of an ensemble's models did between two looks."""
    found = []
    for model in ensemble.steps:
        new, old = after[model], before[model]
        runs = new.execution_count - old.execution_count
        items = (new.inference_count - old.inference_count) / runs if runs else 0.0
        found.append(Step(model, new.inference_stats.success.count - old.inference_stats.success.count, items))
    return found


def mean_microseconds(before: ModelStatistics, after: ModelStatistics, *durations: str) -> float:
    """Return what a request took of these durations of Triton's, between two looks at a model."""
    old, new = before.inference_stats, after.inference_stats
    requests = new.success.count - old.success.count
    spent = sum(getattr(new, each).ns - getattr(old, each).ns for each in durations)
    return float(spent / max(requests, 1) / NANOSECONDS_IN_MICROSECOND)


def by_statistics(
    ensemble: Ensemble,
    client: ClientTimes,
    before: Mapping[str, ModelStatistics],
    after: Mapping[str, ModelStatistics],
) -> list[Stage]:
    """Return the stages, the server's from its statistics.

    What is left of a whole when its parts are taken off is 0 at least: where parts overlap, the stages add up to more
    than the whole.
    """
    inside = [
        Stage(model, words, mean_microseconds(before[model], after[model], duration))
        for model in ensemble.steps
        for duration, words in MODEL_STAGES.items()
    ]
    whole = mean_microseconds(before[ensemble.name], after[ensemble.name], "success")
    scheduling = max(0.0, whole - sum(each.microseconds for each in inside))
    return [
        Stage(CLIENT, "serialise", client.prepare),
        Stage(NETWORK, "network and front end", max(0.0, client.away - whole)),
        Stage(TRITON, "ensemble scheduling", scheduling),
        *inside,
        Stage(CLIENT, "deserialise", client.read),
    ]


def by_trace(ensemble: Ensemble, client: ClientTimes, traced: Sequence[Traced]) -> list[Stage]:
    """Return the stages, the server's from its trace of the same requests."""
    rows = np.array([_spans(ensemble, each) for each in traced], dtype=np.int64)
    means = (rows.mean(axis=0) / NANOSECONDS_IN_MICROSECOND).tolist()
    front, scheduling, *inside = means
    models = [(model, words) for model in ensemble.steps for words in MODEL_STAGES.values()]
    # Both ways together, and the answer's wait until the client's event loop turns to it: what is not the server's.
    network = client.away - sum(means)
    return [
        Stage(CLIENT, "serialise", client.prepare),
        Stage(NETWORK, "network, client's loop", network),
        Stage(TRITON, "front end", front),
        Stage(TRITON, "ensemble scheduling", scheduling),
        *(Stage(model, words, spent) for (model, words), spent in zip(models, inside, strict=True)),
        Stage(CLIENT, "deserialise", client.read),
    ]


def _spans(ensemble: Ensemble, traced: Traced) -> list[int]:
    """Cut the time from a request's arrival to its answer's sending, in nanoseconds: front end, scheduling, steps."""
    marks = [traced.steps[model] for model in ensemble.steps]
    front = traced.marks["REQUEST_START"] - traced.arrived
    scheduling = marks[0]["REQUEST_START"] - traced.marks["REQUEST_START"]
    inside = []
    # A step is over when the next one begins, or the answer is sent; what it tidies up afterwards delays nobody.
    handed_on = [*(each["REQUEST_START"] for each in marks[1:]), traced.sending]
    for mark, end in zip(marks, handed_on, strict=True):
        ready = mark["COMPUTE_OUTPUT_START"]
        over = max(ready, min(mark["COMPUTE_END"], end))
        inside += [
            mark["COMPUTE_START"] - mark["REQUEST_START"],
            mark["COMPUTE_INPUT_END"] - mark["COMPUTE_START"],
            ready - mark["COMPUTE_INPUT_END"],
            over - ready,
        ]
        scheduling += end - over
    return [front, scheduling, *inside]
