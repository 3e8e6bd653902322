"""Points that were measured, kept in files so that a sweep goes on where it was interrupted."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from trident_bench.load.plan import Level, Mode, Protocol
from trident_bench.load.window import Window


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


class Point(BaseModel):
    """One level of one sweep.

    Attributes:
        ensemble: that was asked.
        protocol: how.
        mode: what was kept constant, requests under way or requests a second.
        value: how many.
        seconds: that it was measured; more than was asked where too little was answered in those.
        fingerprint: of all that the result depends on; a point of another is measured again.
        measured: when, in UTC.
        load: what the generator saw.
        window: what Triton and the machine did meanwhile.
    """

    ensemble: str
    protocol: Protocol
    mode: Mode
    value: float
    seconds: float
    fingerprint: str
    measured: str
    load: Load
    window: Window

    @property
    def level(self) -> Level:
        """Its level."""
        return Level(self.mode, self.value)


class Store:
    """The folder of all points: one JSON file for each, beside what its generator wrote.

    Args:
        folder: made when the first point is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def place(self, ensemble: str, protocol: Protocol) -> Path:
        """Return the folder of one sweep, which is made."""
        folder = self._folder / ensemble / protocol
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def find(self, ensemble: str, protocol: Protocol, level: Level, fingerprint: str) -> Point | None:
        """Return a finished point; None where there is none, or where it was measured under other conditions."""
        file = self._folder / ensemble / protocol / f"{level.slug}.json"
        try:
            point = Point.model_validate_json(file.read_text("utf-8"))
        except (OSError, ValidationError):
            return None
        return point if point.fingerprint == fingerprint else None

    def keep(self, point: Point) -> None:
        """Write a finished point, whole or not at all."""
        file = self.place(point.ensemble, point.protocol) / f"{point.level.slug}.json"
        part = file.with_suffix(".part")
        part.write_text(point.model_dump_json(indent=1), "utf-8")
        part.replace(file)


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


def write_json(path: Path, value: object) -> None:
    """Write a value as JSON."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")
