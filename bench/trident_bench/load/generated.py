"""One point with the project's own generator, which loads the facade."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import uvloop

from trident_bench.ensembles import Ensemble
from trident_bench.errors import TooShortError
from trident_bench.generator.loop import Sample, closed_loop, open_loop
from trident_bench.generator.requests import WIRES
from trident_bench.load.plan import Level, Protocol
from trident_bench.load.points import Latency, Load
from trident_bench.load.window import Probe, Window

#: Different requests: more than are under way at once, and few enough to be made in no time.
ROWS = 1000
WARM_UP_SECONDS = 0.5
MILLISECONDS = 1000.0


def measure(
    ensemble: Ensemble, protocol: Protocol, url: str, level: Level, seconds: float, folder: Path, probe: Probe
) -> tuple[Load, Window]:
    """Make the load of one point and return what was measured, and what Triton did meanwhile.

    Every latency, in milliseconds, and all failures stay in ``folder`` (``<level>.latencies.json``).

    Raises:
        MeasurementError: no request was answered; says why.
    """
    wire = WIRES[protocol]
    requests = [wire.request(url, ensemble, item) for item in ensemble.items(ROWS)]

    async def load() -> tuple[Sample, Window]:
        connect = wire.connect(url)
        async with asyncio.TaskGroup() as group:
            watched = group.create_task(probe.watch(WARM_UP_SECONDS, seconds))
            if level.mode == "concurrency":
                in_flight = int(level.value)
                made = closed_loop(
                    connect, requests, in_flight, seconds, turns=0, warm_up=WARM_UP_SECONDS, tolerant=True
                )
            else:
                made = open_loop(connect, requests, level.value, seconds, warm_up=WARM_UP_SECONDS)
            sample = group.create_task(made)
        return sample.result(), watched.result()

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            sample, window = runner.run(load())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    content = {"latencies": [MILLISECONDS * each for each in sample.times], "failures": sample.failures}
    (folder / f"{level.slug}.latencies.json").write_text(json.dumps(content), "utf-8")
    return as_load(sample), window


def as_load(sample: Sample) -> Load:
    """Return a sample as a point has it.

    Raises:
        TooShortError: nothing was answered.
    """
    if not sample.times:
        raise TooShortError("no request was answered; measure for more seconds")
    times = MILLISECONDS * np.asarray(sample.times)
    p50, p90, p95, p99 = (float(each) for each in np.percentile(times, (50, 90, 95, 99)))
    return Load(
        requests=len(times),
        failures=sample.failures.total(),
        throughput=sample.rate,
        latency=Latency(mean=float(times.mean()), p50=p50, p90=p90, p95=p95, p99=p99),
        late=sample.late,
    )
