"""gRPC transports over ``tritonclient.grpc``, whose channels may be shared between threads."""

from __future__ import annotations

import contextlib
from typing import Any, cast

import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

from trident_client._http import LEAVING, NOT_READY, OVERLOADED, ready_models
from trident_client._shared_memory import (
    Clean,
    Infer,
    Placement,
    Regions,
    Register,
    Reply,
    Shapes,
    Step,
    Unregister,
    async_drive,
    drive,
    left_behind,
)
from trident_client._types import Array, Configuration, Request, Response, Statistics, Timeout, triton_type
from trident_client.errors import (
    BadInputError,
    NotReadyError,
    OverloadedError,
    ReadTimeoutError,
    ServerError,
    TransportError,
    TridentError,
)

ERRORS: dict[str, type[TridentError]] = {
    "INVALID_ARGUMENT": BadInputError,
    "NOT_FOUND": NotReadyError,
    "DEADLINE_EXCEEDED": ReadTimeoutError,
    "RESOURCE_EXHAUSTED": OverloadedError,
    "UNAVAILABLE": TransportError,
    "CANCELLED": TransportError,
}


class GrpcTransport:
    """Synchronous gRPC."""

    def __init__(self, url: str, timeout: Timeout, *, shared_memory: bool = False) -> None:
        self._regions = Regions() if shared_memory else None
        self._client = triton_grpc.InferenceServerClient(url, channel_args=_channel_arguments(timeout))
        self._timeout = timeout

    def infer(self, request: Request) -> Response:
        """Run one inference."""
        if self._regions is None:
            return (self._infer(request, None))[0]
        steps = self._regions.steps(request)
        return drive(steps, self._do)

    def ready(self, models: tuple[str, ...]) -> bool:
        """Ask for each model's readiness, or for the server's."""
        seconds = self._timeout.connect
        try:
            if not models:
                return bool(self._client.is_server_ready(client_timeout=seconds))
            return all(self._client.is_model_ready(model, client_timeout=seconds) for model in models)
        except InferenceServerException as error:
            raise translate(error, None) from error

    def index(self) -> list[str]:
        """Ask for the models that are ready."""
        index = self._call("get_model_repository_index")
        return ready_models(index.get("models", []))

    def configuration(self, model: str) -> Configuration:
        """Ask for a model's configuration."""
        answer = self._call("get_model_config", model)
        return cast(Configuration, answer["config"])

    def statistics(self) -> list[Statistics]:
        """Ask for every model's statistics."""
        answer = self._call("get_inference_statistics")
        return cast(list[Statistics], answer.get("model_stats", []))

    def close(self) -> None:
        """Close the channel, and unregister shared memory."""
        for step in self._regions.closing() if self._regions else ():
            with contextlib.suppress(TridentError):
                self._do(step)
        self._client.close()

    def _infer(self, request: Request, placement: Placement | None) -> Reply:
        inputs, outputs = _tensors(request, placement)
        seconds = self._timeout.read if request.timeout is None else min(self._timeout.read, request.timeout)
        try:
            result = self._client.infer(request.model, inputs, outputs=outputs, client_timeout=seconds)
        except InferenceServerException as error:
            raise translate(error, request.model) from error
        return _outputs(request, result, placement)

    def _do(self, step: Step) -> Reply | None:
        if isinstance(step, Infer):
            return self._infer(step.request, step.placement)
        client, seconds = self._client, self._timeout.connect
        try:
            if isinstance(step, Register):
                client.register_system_shared_memory(step.name, f"/{step.name}", step.size, client_timeout=seconds)
            elif isinstance(step, Unregister):
                client.unregister_system_shared_memory(step.name, client_timeout=seconds)
            elif isinstance(step, Clean):
                status = client.get_system_shared_memory_status(client_timeout=seconds)
                for name in left_behind(status.regions):
                    with contextlib.suppress(InferenceServerException):
                        client.unregister_system_shared_memory(name, client_timeout=seconds)
        except InferenceServerException as error:
            raise translate(error, None) from error
        return None

    def _call(self, method: str, *models: str) -> Any:
        try:
            return getattr(self._client, method)(*models, as_json=True, client_timeout=self._timeout.connect)
        except InferenceServerException as error:
            raise translate(error, models[0] if models else None) from error


class AsyncGrpcTransport:
    """gRPC for one event loop."""

    def __init__(self, url: str, timeout: Timeout, *, shared_memory: bool = False) -> None:
        self._regions = Regions() if shared_memory else None
        self._client = triton_aio.InferenceServerClient(url, channel_args=_channel_arguments(timeout))
        self._timeout = timeout

    async def infer(self, request: Request) -> Response:
        """Run one inference."""
        if self._regions is None:
            return (await self._infer(request, None))[0]
        steps = self._regions.steps(request)
        return await async_drive(steps, self._do)

    async def ready(self, models: tuple[str, ...]) -> bool:
        """Ask for each model's readiness, or for the server's."""
        seconds = self._timeout.connect
        try:
            if not models:
                return bool(await self._client.is_server_ready(client_timeout=seconds))
            for model in models:
                if not await self._client.is_model_ready(model, client_timeout=seconds):
                    return False
        except InferenceServerException as error:
            raise translate(error, None) from error
        return True

    async def index(self) -> list[str]:
        """Ask for the models that are ready."""
        index = await self._call("get_model_repository_index")
        return ready_models(index.get("models", []))

    async def configuration(self, model: str) -> Configuration:
        """Ask for a model's configuration."""
        answer = await self._call("get_model_config", model)
        return cast(Configuration, answer["config"])

    async def statistics(self) -> list[Statistics]:
        """Ask for every model's statistics."""
        answer = await self._call("get_inference_statistics")
        return cast(list[Statistics], answer.get("model_stats", []))

    async def close(self) -> None:
        """Close the channel, and unregister shared memory."""
        for step in self._regions.closing() if self._regions else ():
            with contextlib.suppress(TridentError):
                await self._do(step)
        await self._client.close()

    async def _infer(self, request: Request, placement: Placement | None) -> Reply:
        inputs, outputs = _tensors(request, placement)
        seconds = self._timeout.read if request.timeout is None else min(self._timeout.read, request.timeout)
        try:
            result = await self._client.infer(request.model, inputs, outputs=outputs, client_timeout=seconds)
        except InferenceServerException as error:
            raise translate(error, request.model) from error
        return _outputs(request, result, placement)

    async def _do(self, step: Step) -> Reply | None:
        if isinstance(step, Infer):
            return await self._infer(step.request, step.placement)
        client, seconds = self._client, self._timeout.connect
        try:
            if isinstance(step, Register):
                await client.register_system_shared_memory(
                    step.name, f"/{step.name}", step.size, client_timeout=seconds
                )
            elif isinstance(step, Unregister):
                await client.unregister_system_shared_memory(step.name, client_timeout=seconds)
            elif isinstance(step, Clean):
                status = await client.get_system_shared_memory_status(client_timeout=seconds)
                for name in left_behind(status.regions):
                    with contextlib.suppress(InferenceServerException):
                        await client.unregister_system_shared_memory(name, client_timeout=seconds)
        except InferenceServerException as error:
            raise translate(error, None) from error
        return None

    async def _call(self, method: str, *models: str) -> Any:
        try:
            return await getattr(self._client, method)(*models, as_json=True, client_timeout=self._timeout.connect)
        except InferenceServerException as error:
            raise translate(error, models[0] if models else None) from error


def translate(error: InferenceServerException, model: str | None) -> TridentError:
    """Return this package's error for one of tritonclient's."""
    message = str(error.message())

    def says(signs: tuple[str, ...]) -> bool:
        return any(sign in message for sign in signs)

    kind = ERRORS.get(str(error.status()).removeprefix("StatusCode."), ServerError)
    # gRPC has one status for a server that is away and one that does not want to.
    if says(LEAVING):
        kind = TransportError
    elif kind is TransportError:
        kind = NotReadyError if says(NOT_READY) else OverloadedError if says(OVERLOADED) else kind
    return kind(message, model)


def _channel_arguments(timeout: Timeout) -> list[tuple[str, int | str]]:
    return [
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
        # A restarted server is found again at once; gRPC's own pauses between dials grow to two minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 200),
        # In spite of its name, how long a dial may take.
        ("grpc.min_reconnect_backoff_ms", round(timeout.connect * 1000)),
        # A name with several addresses, such as a cluster's headless service, is several servers that take turns.
        ("grpc.lb_policy_name", "round_robin"),
    ]


def _tensors(request: Request, placement: Placement | None) -> tuple[list[Any], list[Any]]:
    inputs, outputs = [], []
    for name, array in request.inputs.items():
        tensor = triton_grpc.InferInput(name, list(array.shape), triton_type(array))
        if placement:
            offset, size = placement.inputs[name]
            tensor.set_shared_memory(placement.region, size, offset)
        else:
            tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    for name in request.outputs:
        output = triton_grpc.InferRequestedOutput(name)
        if placement and name in placement.outputs:
            offset, size = placement.outputs[name]
            output.set_shared_memory(placement.region, size, offset)
        outputs.append(output)
    return inputs, outputs


def _outputs(request: Request, result: Any, placement: Placement | None) -> Reply:
    placed = placement.outputs if placement else {}
    outputs: dict[str, Array] = {name: result.as_numpy(name) for name in request.outputs if name not in placed}
    shapes: Shapes = {name: tuple(result.get_output(name).shape) for name in placed}
    return outputs, shapes
