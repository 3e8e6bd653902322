"""What tests of the bench share: made-up points, and reports without pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from trident_bench.load.points import Latency, Load, Point
from trident_bench.load.window import StageUsage, Window


def make_stage(name: str = "sts_encoder", busy: float = 0.95, queue_ms: float = 3.0) -> StageUsage:
    return StageUsage(
        name=name,
        instances=1,
        requests=100,
        items=100,
        executions=20,
        request_ms=11.0,
        queue_ms=queue_ms,
        input_ms=1.0,
        infer_ms=6.0,
        output_ms=1.0,
        computing_seconds=5 * busy,
        busy=busy,
    )


def make_point(
    value: float = 1,
    throughput: float = 100,
    p99: float = 10,
    *,
    mode: str = "concurrency",
    ensemble: str = "sts",
    protocol: str = "grpc",
    failures: int = 0,
    stages: tuple[StageUsage, ...] = (),
    cores_busy: float = 0.9,
    fingerprint: str = "same",
) -> Point:
    """Return a point whose median is half of its p99."""
    latency = Latency(mean=p99 * 0.6, p50=p99 / 2, p90=p99 * 0.8, p95=p99 * 0.9, p99=p99)
    load = Load(requests=500, failures=failures, throughput=throughput, latency=latency)
    stages = stages or (make_stage("sts_tokenizer", 0.1), make_stage())
    window = Window(seconds=5, stages=list(stages), cores=2, cores_busy=cores_busy, generator_busy=0.05)
    return Point(
        ensemble=ensemble,
        protocol=protocol,
        mode=mode,
        value=value,
        seconds=5,
        fingerprint=fingerprint,
        load=load,
        window=window,
    )


@pytest.fixture
def point() -> Callable[..., Point]:
    """Return :func:`make_point`."""
    return make_point


@pytest.fixture
def stage() -> Callable[..., StageUsage]:
    """Return :func:`make_stage`."""
    return make_stage


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are empty files: most of a report's time is theirs, and other tests look at them."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, file, **options: Path(file).touch())
