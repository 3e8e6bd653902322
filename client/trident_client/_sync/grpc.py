# Made from ../_async/grpc.py by scripts/unasync.py: change that, not this.
"""The gRPC transport. A channel of tritonclient's may be shared between threads."""

from __future__ import annotations

import contextlib
from typing import Any, cast

import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from trident_client import _grpc, _http
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
from trident_client._sync.driving import drive
from trident_client._types import Configuration, Request, Response, Statistics, Timeout
from trident_client.errors import TridentError


class GrpcTransport:
    """gRPC, from any number of threads."""

    def __init__(self, url: str, timeout: Timeout, *, shared_memory: bool = False) -> None:
        self._regions = Regions() if shared_memory else None
        self._client = triton_grpc.InferenceServerClient(url, channel_args=_grpc.channel_arguments(timeout))
        self._timeout = timeout

    def infer(self, request: Request) -> Response:
        """Run one inference."""
        if self._regions is None:
            outputs, _ = self._infer(request, None)
            return outputs
        return drive(self._regions.steps(request), self._perform)

    def ready(self, models: tuple[str, ...]) -> bool:
        """Ask for each model's readiness, or for the server's."""
        seconds = self._timeout.connect
        try:
            if not models:
                return bool(self._client.is_server_ready(client_timeout=seconds))
            for model in models:
                if not self._client.is_model_ready(model, client_timeout=seconds):
                    return False
        except InferenceServerException as error:
            raise _grpc.translate(error, None) from error
        return True

    def index(self) -> list[str]:
        """Ask for the models that are ready."""
        index = self._call("get_model_repository_index")
        return _http.ready_models(index.get("models", []))

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
                self._perform(step)
        self._client.close()

    def _infer(self, request: Request, placement: Placement | None) -> Reply:
        inputs, outputs = _grpc.tensors(request, placement)
        seconds = self._timeout.read if request.timeout is None else min(self._timeout.read, request.timeout)
        try:
            result = self._client.infer(request.model, inputs, outputs=outputs, client_timeout=seconds)
        except InferenceServerException as error:
            raise _grpc.translate(error, request.model) from error
        return _grpc.outputs_of(request, result, placement)

    def _perform(self, step: Step) -> Reply | None:
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
                for name in orphaned(status.regions):
                    with contextlib.suppress(InferenceServerException):
                        client.unregister_system_shared_memory(name, client_timeout=seconds)
        except InferenceServerException as error:
            raise _grpc.translate(error, None) from error
        return None

    def _call(self, method: str, *models: str) -> Any:
        try:
            return getattr(self._client, method)(*models, as_json=True, client_timeout=self._timeout.connect)
        except InferenceServerException as error:
            raise _grpc.translate(error, models[0] if models else None) from error
