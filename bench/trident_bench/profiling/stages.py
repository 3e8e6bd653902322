"""The arithmetic: a request's time cut into stages that add up to the whole of it.

The server's part comes from two sources. Its *statistics* are sums for each model, which any server has; they overlap a
little, for Triton counts a model's time until the model has tidied up, when its answer has long gone on. Its *trace*
has each request's own times, which follow one another without a gap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trident_bench.ensembles import Ensemble
from trident_bench.profiling.trace import TracedRequest
from trident_bench.usage import ModelUsage

CLIENT, TRITON = "client", "Triton"
NANOSECONDS_PER_MICROSECOND, MICROSECONDS_PER_MS = 1e3, 1e3
#: What a model does with a request, in this order.
MODEL_STAGES = ("queue", "compute input", "compute infer", "compute output")


@dataclass(frozen=True)
class Stage:
    """One part of a request's time.

    Attributes:
        part: where: the client, Triton, or a model's name.
        name: what is done there.
        microseconds: mean of a request.
    """

    part: str
    name: str
    microseconds: float


def by_statistics(ensemble: Ensemble, mean: float, models: Mapping[str, ModelUsage]) -> list[Stage]:
    """Return the stages of a request, the server's from its statistics.

    What is left of a whole when its parts are taken off is 0 at least: where parts overlap, the stages add up to more
    than the whole.

    Args:
        ensemble: that was loaded.
        mean: microseconds from the client's call to its return.
        models: what the ensemble and its composing models did.
    """
    steps = [models[name] for name in ensemble.steps]
    inside = [(each.queue_ms, each.input_ms, each.infer_ms, each.output_ms) for each in steps]
    server = models[ensemble.name].request_ms
    scheduling = max(0.0, server - sum(map(sum, inside)))
    network = max(0.0, mean - MICROSECONDS_PER_MS * server)
    times = [MICROSECONDS_PER_MS * each for each in (scheduling, *(each for step in inside for each in step))]
    return [Stage(CLIENT, "client, network and front end", network), *_server_stages(ensemble, times)]


def by_trace(ensemble: Ensemble, mean: float, trace: Sequence[TracedRequest]) -> list[Stage]:
    """Return the stages, the server's from its trace of the same requests; see :func:`by_statistics`."""
    rows = np.array([_spans(ensemble, each) for each in trace], dtype=np.int64)
    front_end, *times = (rows.mean(axis=0) / NANOSECONDS_PER_MICROSECOND).tolist()
    network = mean - front_end - sum(times)
    return [
        Stage(CLIENT, "client and network", network),
        Stage(TRITON, "front end", front_end),
        *_server_stages(ensemble, times),
    ]


def _server_stages(ensemble: Ensemble, times: Sequence[float]) -> list[Stage]:
    titles = [(TRITON, "ensemble scheduling"), *((model, title) for model in ensemble.steps for title in MODEL_STAGES)]
    return [Stage(part, name, spent) for (part, name), spent in zip(titles, times, strict=True)]


def _spans(ensemble: Ensemble, request: TracedRequest) -> list[int]:
    """Cut the time from a request's arrival to its answer's sending, in nanoseconds: front end, scheduling, steps."""
    marks = [request.steps[model] for model in ensemble.steps]
    front_end = request.marks["REQUEST_START"] - request.arrived
    scheduling = marks[0]["REQUEST_START"] - request.marks["REQUEST_START"]
    inside = []
    # A step is over when the next one begins, or the answer is sent; what it tidies up afterwards delays nobody.
    handed_on = [*(each["REQUEST_START"] for each in marks[1:]), request.sending]
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
    return [front_end, scheduling, *inside]
