"""gRPC transports over ``tritonclient.grpc``, whose channels may be shared between threads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

from trident_client._http import ready_models
from trident_client._types import Configuration, Request, Response, Timeout, triton_type
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

Result = TypeVar("Result")


class GrpcTransport:
    """Synchronous gRPC."""

    def __init__(self, url: str, timeout: Timeout) -> None:
        self._client = triton_grpc.InferenceServerClient(url, channel_args=CHANNEL_ARGUMENTS)
        self._timeout = timeout

    def infer(self, request: Request) -> Response:
        """Run one inference."""
        return self._redialling(lambda: self._infer(request))

    def ready(self, models: tuple[str, ...]) -> bool:
        """Ask the server for each model's readiness."""
        return self._redialling(lambda: self._ready(models))

    def index(self) -> list[str]:
        """Ask for the models that are ready."""
        index = self._redialling(lambda: self._call("get_model_repository_index"))
        return ready_models(index.get("models", []))

    def configuration(self, model: str) -> Configuration:
        """Ask for a model's configuration."""
        answer = self._redialling(lambda: self._call("get_model_config", model))
        return cast(Configuration, answer["config"])

    def close(self) -> None:
        """Close the channel."""
        self._client.close()

    def _redialling(self, call: Callable[[], Result]) -> Result:
        try:
            return call()
        except TransportError:
            time.sleep(REDIAL_SECONDS)
            return call()

    def _call(self, method: str, *models: str) -> Any:
        try:
            return getattr(self._client, method)(*models, as_json=True, client_timeout=self._timeout.connect)
        except InferenceServerException as error:
            raise translate(error, models[0] if models else None) from error

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
        return await self._redialling(lambda: self._infer(request))

    async def ready(self, models: tuple[str, ...]) -> bool:
        """Ask the server for each model's readiness."""
        return await self._redialling(lambda: self._ready(models))

    async def index(self) -> list[str]:
        """Ask for the models that are ready."""
        index = await self._redialling(lambda: self._call("get_model_repository_index"))
        return ready_models(index.get("models", []))

    async def configuration(self, model: str) -> Configuration:
        """Ask for a model's configuration."""
        answer = await self._redialling(lambda: self._call("get_model_config", model))
        return cast(Configuration, answer["config"])

    async def close(self) -> None:
        """Close the channel."""
        await self._client.close()

    async def _redialling(self, call: Callable[[], Awaitable[Result]]) -> Result:
        try:
            return await call()
        except TransportError:
            await asyncio.sleep(REDIAL_SECONDS)
            return await call()

    async def _call(self, method: str, *models: str) -> Any:
        try:
            return await getattr(self._client, method)(*models, as_json=True, client_timeout=self._timeout.connect)
        except InferenceServerException as error:
            raise translate(error, models[0] if models else None) from error

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
