"""gRPC transports over ``tritonclient.grpc``, whose channels may be shared between threads."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

from trident_client._types import Request, Response, Timeout, triton_type
from trident_client.errors import (
    BadInputError,
    DeadlineError,
    NotReadyError,
    OverloadedError,
    ServerError,
    TransportError,
    TridentError,
)

# A restarted server is found again at once; gRPC's own back-off between dials grows to two minutes.
CHANNEL_ARGUMENTS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
]
ERRORS: dict[str, type[TridentError]] = {
    "INVALID_ARGUMENT": BadInputError,
    "NOT_FOUND": NotReadyError,
    "DEADLINE_EXCEEDED": DeadlineError,
    "RESOURCE_EXHAUSTED": OverloadedError,
    "UNAVAILABLE": TransportError,
    "CANCELLED": TransportError,
}
# A channel that lost its server answers the next call with the old failure and only then dials again, so a call that
# found no server is made once more after this many seconds, longer than the longest back-off with its jitter of a
# fifth. Inference changes nothing on the server.
REDIAL_SECONDS = 0.3
NOT_READY = ("is not found", "is not ready", "unknown model", "stopping")


class GrpcTransport:
    """Synchronous gRPC."""

    def __init__(self, url: str, timeout: Timeout) -> None:
        self._client = triton_grpc.InferenceServerClient(url, channel_args=CHANNEL_ARGUMENTS)
        self._timeout = timeout

    def infer(self, request: Request) -> Response:
        """Run one inference."""
        try:
            return self._infer(request)
        except TransportError:
            time.sleep(REDIAL_SECONDS)
            return self._infer(request)

    def ready(self, models: tuple[str, ...]) -> bool:
        """Ask the server for each model's readiness."""
        try:
            return self._ready(models)
        except TransportError:
            time.sleep(REDIAL_SECONDS)
            return self._ready(models)

    def close(self) -> None:
        """Close the channel."""
        self._client.close()

    def _infer(self, request: Request) -> Response:
        inputs, outputs = _tensors(request)
        try:
            result = self._client.infer(request.model, inputs, outputs=outputs, client_timeout=self._timeout.read)
        except InferenceServerException as error:
            raise translate(error, request.model) from error
        return {name: result.as_numpy(name) for name in request.outputs}

    def _ready(self, models: tuple[str, ...]) -> bool:
        try:
            return all(self._client.is_model_ready(model, client_timeout=self._timeout.connect) for model in models)
        except InferenceServerException as error:
            raise translate(error, None) from error


class AsyncGrpcTransport:
    """gRPC for one event loop."""

    def __init__(self, url: str, timeout: Timeout) -> None:
        self._client = triton_aio.InferenceServerClient(url, channel_args=CHANNEL_ARGUMENTS)
        self._timeout = timeout

    async def infer(self, request: Request) -> Response:
        """Run one inference."""
        try:
            return await self._infer(request)
        except TransportError:
            await asyncio.sleep(REDIAL_SECONDS)
            return await self._infer(request)

    async def ready(self, models: tuple[str, ...]) -> bool:
        """Ask the server for each model's readiness."""
        try:
            return await self._ready(models)
        except TransportError:
            await asyncio.sleep(REDIAL_SECONDS)
            return await self._ready(models)

    async def close(self) -> None:
        """Close the channel."""
        await self._client.close()

    async def _infer(self, request: Request) -> Response:
        inputs, outputs = _tensors(request)
        try:
            result = await self._client.infer(request.model, inputs, outputs=outputs, client_timeout=self._timeout.read)
        except InferenceServerException as error:
            raise translate(error, request.model) from error
        return {name: result.as_numpy(name) for name in request.outputs}

    async def _ready(self, models: tuple[str, ...]) -> bool:
        try:
            for model in models:
                if not await self._client.is_model_ready(model, client_timeout=self._timeout.connect):
                    return False
        except InferenceServerException as error:
            raise translate(error, None) from error
        return True


def translate(error: InferenceServerException, model: str | None) -> TridentError:
    """Return this package's error for one of tritonclient's."""
    message = str(error.message())
    kind = ERRORS.get(str(error.status()).removeprefix("StatusCode."), ServerError)
    if kind is TransportError and any(sign in message for sign in NOT_READY):
        kind = NotReadyError
    return kind(message, model)


def _tensors(request: Request) -> tuple[list[Any], list[Any]]:
    inputs = []
    for name, array in request.inputs.items():
        tensor = triton_grpc.InferInput(name, list(array.shape), triton_type(array))
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    return inputs, [triton_grpc.InferRequestedOutput(name) for name in request.outputs]
