"""Transports that answer without a server, and fail where a test says so."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
from trident_client import AsyncFakeTransport, FakeTransport, Request, TransportError, TridentError

Failure = Callable[[int], TridentError | None]


def lengths(request: Request) -> dict[str, np.ndarray]:
    """Answer with each first text's length, so that mixed-up rows show."""
    texts = next(iter(request.inputs.values()))[:, 0]
    values = np.array([[len(text)] for text in texts], dtype=np.float32)
    cut = {name: (values > 1000).astype(np.int32) for name in request.outputs if name.startswith("TRUNCATED")}
    return {request.outputs[0]: values, **cut}


class Faulty(FakeTransport):
    """Answers with :func:`lengths`, except where ``failure``, given the request's number from 0, returns an error."""

    def __init__(self, failure: Failure = lambda number: None) -> None:
        super().__init__(self._answer_or_fail)
        self.failure = failure
        self.ready_calls = 0
        self._lock = threading.Lock()
        self._count = 0

    def _answer_or_fail(self, request: Request) -> dict[str, np.ndarray]:
        with self._lock:
            number, self._count = self._count, self._count + 1
        if error := self.failure(number):
            raise error
        return lengths(request)

    def ready(self, models: tuple[str, ...]) -> bool:
        self.ready_calls += 1
        if self.failure(-1) and not self.is_ready:
            raise TransportError("away")
        return self.is_ready


class AsyncFaulty(AsyncFakeTransport):
    """The same for an event loop."""

    def __init__(self, failure: Failure = lambda number: None) -> None:
        super().__init__(lengths)
        self.twin = Faulty(failure)

    async def infer(self, request):
        return self.twin.infer(request)

    async def ready(self, models):
        return self.twin.ready(models)


@pytest.fixture
def faulty() -> type[Faulty]:
    return Faulty


@pytest.fixture
def async_faulty() -> type[AsyncFaulty]:
    return AsyncFaulty
