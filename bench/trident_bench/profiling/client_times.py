"""The client's own transports, with a clock at the two places where a request leaves this process and comes back.

The path is the client's, unchanged: gRPC calls the serialiser just before it sends and the deserialiser just after it
received, and httpx calls its hooks there.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from trident_client import Timeout
from trident_client._async.grpc import AsyncGrpcTransport
from trident_client._async.http import AsyncHttpTransport
from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelInferResponse

INFER = "/inference.GRPCInferenceService/ModelInfer"
MICROSECOND = 1_000


@dataclass
class Times:
    """When one request was begun, sent, answered and handed to whoever asked; nanoseconds of the monotonic clock."""

    begun: int = 0
    sent: int = 0
    received: int = 0
    ended: int = 0


#: The request that the running task makes.
CURRENT: ContextVar[Times | None] = ContextVar("current", default=None)


@dataclass(frozen=True)
class ClientTimes:
    """Means over requests, in microseconds.

    Attributes:
        requests: how many.
        prepare: from the call to the last byte's being handed to the socket: checks, tensors, serialisation.
        away: until the answer was there.
        read: until the caller had it: deserialisation, arrays.
    """

    requests: int
    prepare: float
    away: float
    read: float

    @property
    def total(self) -> float:
        """From the call to its return."""
        return self.prepare + self.away + self.read

    @classmethod
    def mean(cls, times: Sequence[Times]) -> ClientTimes:
        """Return the means."""
        marks = np.array([(each.begun, each.sent, each.received, each.ended) for each in times], dtype=np.int64)
        prepare, away, read = (np.diff(marks, axis=1).mean(axis=0) / MICROSECOND).tolist()
        return cls(len(times), prepare, away, read)


@dataclass
class Recorder:
    """Wraps a way of asking, and keeps the times of every request made through it."""

    ask: Callable[[Any], Awaitable[Any]]
    times: list[Times] = field(default_factory=list)

    async def __call__(self, item: Any) -> None:
        """Ask one item."""
        mine = Times()
        CURRENT.set(mine)
        mine.begun = time.monotonic_ns()
        await self.ask(item)
        mine.ended = time.monotonic_ns()
        self.times.append(mine)


class TimedGrpcTransport(AsyncGrpcTransport):
    """gRPC, with the clock."""

    def __init__(self, url: str, timeout: Timeout, *, shared_memory: bool = False) -> None:
        super().__init__(url, timeout, shared_memory=shared_memory)

        def serialise(request: Any) -> bytes:
            sent: bytes = ModelInferRequest.SerializeToString(request)
            _note("sent")
            return sent

        def deserialise(content: bytes) -> Any:
            _note("received")
            return ModelInferResponse.FromString(content)

        self._client._client_stub.ModelInfer = self._client._channel.unary_unary(
            INFER, request_serializer=serialise, response_deserializer=deserialise
        )


class TimedHttpTransport(AsyncHttpTransport):
    """HTTP, with the clock; the answer's head has been read when it is taken for received."""

    def __init__(self, url: str, timeout: Timeout, *, shared_memory: bool = False) -> None:
        super().__init__(url, timeout, shared_memory=shared_memory)

        async def sending(request: Any) -> None:
            _note("sent")

        async def received(response: Any) -> None:
            _note("received")

        self._client.event_hooks = {"request": [sending], "response": [received]}


TRANSPORTS: dict[str, type[TimedGrpcTransport] | type[TimedHttpTransport]] = {
    "grpc": TimedGrpcTransport,
    "http": TimedHttpTransport,
}


def _note(mark: str) -> None:
    times = CURRENT.get()
    if times is not None:
        setattr(times, mark, time.monotonic_ns())
