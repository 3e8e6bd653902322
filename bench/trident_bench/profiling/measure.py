"""Loads a server through the client and takes the times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from trident_client import AsyncTridentClient

from trident_bench.asking import ask
from trident_bench.ensembles import Ensemble
from trident_bench.options import MeasureOptions
from trident_bench.profiling.stages import Stage, cut
from trident_bench.triton import TritonState
from trident_bench.usage import usage

MICROSECONDS = 1e6


@dataclass(frozen=True)
class Level:
    """One ensemble under one load.

    Attributes:
        ensemble: its name.
        in_flight: requests under way at once.
        throughput: requests a second.
        mean: of a request, in microseconds; the stages add up to it, or to a little more.
        p50: median, in microseconds.
        p99: in microseconds.
        alone: whether nobody else used the server's models meanwhile.
        stages: in the order of the request's way.
        batches: mean items of an execution, by composing model.
    """

    ensemble: str
    in_flight: int
    throughput: float
    mean: float
    p50: float
    p99: float
    alone: bool
    stages: Sequence[Stage]
    batches: Mapping[str, float]


async def measure(client: AsyncTridentClient, state: TritonState, ensemble: Ensemble, options: MeasureOptions) -> Level:
    """Load one ensemble, and cut the time of its requests into stages once it is warm."""
    if options.warm_up > 0:
        await ask(client, ensemble, options.in_flight, options.warm_up)
    before = state.statistics(ensemble.models)
    sample = await ask(client, ensemble, options.in_flight, options.seconds)
    after = state.statistics(ensemble.models)
    models = {name: usage(before[name], after[name]) for name in ensemble.models}
    steps, asked = [models[name] for name in ensemble.steps], len(sample.times)
    mean = MICROSECONDS * float(np.mean(sample.times))
    return Level(
        ensemble=ensemble.name,
        in_flight=options.in_flight,
        throughput=sample.rate,
        mean=mean,
        p50=MICROSECONDS * sample.quantile(0.5),
        p99=MICROSECONDS * sample.quantile(0.99),
        # Triton counts a request a moment after it was answered: a few may be missing, or belong to the warm-up.
        alone=all(abs(each.requests - asked) <= max(2, asked // 20) for each in steps),
        stages=cut(ensemble, mean, models),
        batches={each.name: each.batch for each in steps},
    )
