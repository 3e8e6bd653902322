"""The gRPC transport. A channel of tritonclient's may be shared between threads."""

from __future__ import annotations

import contextlib
from typing import Any, cast

import tritonclient.grpc.aio as triton_grpc
from tritonclient.utils import InferenceServerException

from trident_client import _grpc, _http
from trident_client._async.driving import drive
from trident_client._shared_memory import (
    Clean,
    Infer,
    Placement,
    Regions,
    Register,
    Reply,
    Step,
    Unregister,
    orphaned,
)
from trident_client._types import Configuration, Request, Response, Statistics, Timeout
from trident_client.errors import TridentError


class AsyncGrpcTransport:
    """gRPC, from one event loop."""

    def __init__(self, url: str, timeout: Timeout, *, shared_memory: bool = False) -> None:
        self._regions = Regions() if shared_memory else None
        self._client = triton_grpc.InferenceServerClient(url, channel_args=_grpc.channel_arguments(timeout))
        self._timeout = timeout

    async def infer(self, request: Request) -> Response:
        """Run one inference."""
        if self._regions is None:
            outputs, _ = await self._infer(request, None)
            return outputs
        return await drive(self._regions.steps(request), self._perform)

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
            raise _grpc.translate(error, None) from error
        return True

    async def index(self) -> list[str]:
        """Ask for the models that are ready."""
        index = await self._call("get_model_repository_index")
        return _http.ready_models(index.get("models", []))

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
                await self._perform(step)
        await self._client.close()

    async def _infer(self, request: Request, placement: Placement | None) -> Reply:
        inputs, outputs = _grpc.tensors(request, placement)
        seconds = self._timeout.read if request.timeout is None else min(self._timeout.read, request.timeout)
        try:
            result = await self._client.infer(request.model, inputs, outputs=outputs, client_timeout=seconds)
        except InferenceServerException as error:
            raise _grpc.translate(error, request.model) from error
        return _grpc.outputs_of(request, result, placement)

    async def _perform(self, step: Step) -> Reply | None:
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
                for name in orphaned(status.regions):
                    with contextlib.suppress(InferenceServerException):
                        await client.unregister_system_shared_memory(name, client_timeout=seconds)
        except InferenceServerException as error:
            raise _grpc.translate(error, None) from error
        return None

    async def _call(self, method: str, *models: str) -> Any:
        try:
            return await getattr(self._client, method)(*models, as_json=True, client_timeout=self._timeout.connect)
        except InferenceServerException as error:
            raise _grpc.translate(error, models[0] if models else None) from error
