"""The arithmetic: a request's time cut into stages that add up to the whole of it.

The server's part comes from Triton's statistics, sums for each model, which any server has. They overlap a little:
Triton counts a model's time until the model has tidied up, when its answer has long gone on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trident_bench.ensembles import Ensemble
from trident_bench.usage import ModelUsage

CLIENT, TRITON = "client", "Triton"
MICROSECONDS_PER_MS = 1e3
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


def cut(ensemble: Ensemble, mean: float, models: Mapping[str, ModelUsage]) -> list[Stage]:
    """Return the stages of a request.

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
    titles = [(TRITON, "ensemble scheduling"), *((model, title) for model in ensemble.steps for title in MODEL_STAGES)]
    served = [Stage(part, name, spent) for (part, name), spent in zip(titles, times, strict=True)]
    return [Stage(CLIENT, "client, network and front end", network), *served]
