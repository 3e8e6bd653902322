"""Points of a sweep: what the load generator measured at one level, and what the servers did meanwhile."""

from __future__ import annotations

from pydantic import BaseModel, Field

from trident_bench.load.plan import Mode, Protocol
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
    """What a load generator measured at one point.

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
        ensemble: that was loaded.
        protocol: how.
        mode: what was kept constant, requests under way or requests a second.
        value: how many.
        seconds: that it was measured; more than planned where too little was answered in those.
        load: what the generator measured.
        window: what Triton and the machine did meanwhile.
    """

    ensemble: str
    protocol: Protocol
    mode: Mode
    value: float
    seconds: float
    load: Load
    window: Window
