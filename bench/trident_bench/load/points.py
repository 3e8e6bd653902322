"""Points of a sweep: what the load generator saw at one level, and what the servers did meanwhile."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from pydantic import BaseModel, Field

from trident_bench.load.plan import Level, Mode, Protocol
from trident_bench.load.window import Window
from trident_bench.store import Record


class Latency(BaseModel):
    """Milliseconds from sending a request to its answer."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float


class Load(BaseModel):
    """What a load generator saw at one point.

    Attributes:
        requests: answered as they should be.
        failures: refused, failed or not answered.
        throughput: answered requests a second.
        latency: of the answered requests.
        late: share of the requests that were sent later than planned, in an open loop.
    """

    requests: int = Field(ge=0)
    failures: int = Field(ge=0)
    throughput: float = Field(ge=0)
    latency: Latency
    late: float = Field(0.0, ge=0, le=1)


class Point(Record):
    """One level of one sweep.

    Attributes:
        ensemble: that was asked.
        protocol: how.
        mode: what was kept constant, requests under way or requests a second.
        value: how many.
        seconds: that it was measured; more than was asked where too little was answered in those.
        load: what the generator saw.
        window: what Triton and the machine did meanwhile.
    """

    ensemble: str
    protocol: Protocol
    mode: Mode
    value: float
    seconds: float
    load: Load
    window: Window

    @property
    def level(self) -> Level:
        """Its level."""
        return Level(self.mode, self.value)


def as_csv(points: Sequence[Point]) -> str:
    """Return a table with a row for each point, and the columns of each composing model in the order of the steps."""
    most = max((len(point.window.stages) for point in points), default=0)
    head = ["ensemble", "protocol", "mode", "value", "requests", "failures", "requests_per_second"]
    head += ["mean_ms", "p50_ms", "p90_ms", "p95_ms", "p99_ms", "late", "cores_busy", "generator_busy"]
    for number in range(1, most + 1):
        head += [f"stage_{number}_{name}" for name in ("model", "queue_ms", "compute_ms", "batch", "busy")]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(head)
    for point in points:
        load, window = point.load, point.window
        row = [point.ensemble, point.protocol, point.mode, f"{point.value:g}", load.requests, load.failures]
        row += [f"{load.throughput:.2f}"]
        row += [f"{each:.3f}" for each in load.latency.model_dump().values()]
        row += [f"{each:.4f}" for each in (load.late, window.cores_busy, window.generator_busy)]
        for stage in window.stages:
            row += [stage.name, f"{stage.queue_ms:.3f}", f"{stage.compute_ms:.3f}"]
            row += [f"{stage.batch:.2f}", f"{stage.busy:.4f}"]
        writer.writerow(row)
    return file.getvalue()
