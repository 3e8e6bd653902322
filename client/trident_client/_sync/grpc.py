# Made from ../_async/grpc.py by scripts/unasync.py: change that, not this.
"""The gRPC transport. A channel of tritonclient's may be shared between threads."""

from __future__ import annotations

import contextlib
import time
from typing import Any, cast

import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from trident_client import _forking, _grpc, _http
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
from trident_client._sync.concurrency import Cancelled, check_channels
from trident_client._sync.driving import drive
from trident_client._types import (
    Configuration,
    Request,
    Response,
    Statistics,
    Timeout,
    Tls,
    microseconds_in_queue,
    seconds_to_answer,
)
from trident_client.errors import ReadTimeoutError, TridentError

#: The part of a call's timeout after which one that is cancelled was silent, and not only unwanted.
LONG_SILENCE = 0.5


class GrpcTransport:
    """gRPC, from any number of threads."""

    def __init__(self, url: str, timeout: Timeout, *, shared_memory: bool = False, tls: Tls | None = None) -> None:
        self._url, self._timeout = url, timeout
        self._security = _grpc.channel_security(tls)
        self._regions = Regions() if shared_memory else None
        self._client = self._connect()
        self._last_answer = object()
        _forking.register(self)

    def after_fork(self) -> None:
        """Keep the parent's channel from being closed."""
        _forking.KEPT.append(self._client)

    def infer(self, request: Request) -> Response:
        """Run one inference."""
        if self._regions is None:
            outputs, _ = self._infer(request, None)
            return outputs
        return drive(self._regions.steps(request), self._perform)

    def ready(self, models: tuple[str, ...]) -> bool:
        """Ask for each model's readiness, or for the server's."""
        if not models:
            return bool(self._call("is_server_ready", None))
        ready = True
        for model in models:
            ready = ready and bool(self._call("is_model_ready", None, model))
        return ready

    def index(self) -> list[str]:
        """Ask for the models that are ready."""
        index = self._call("get_model_repository_index", None, as_json=True)
        return _http.ready_models(index.get("models", []))

    def configuration(self, model: str) -> Configuration:
        """Ask for a model's configuration."""
        answer = self._call("get_model_config", model, model, as_json=True)
        return cast(Configuration, answer["config"])

    def statistics(self) -> list[Statistics]:
        """Ask for every model's statistics."""
        answer = self._call("get_inference_statistics", None, as_json=True)
        return cast(list[Statistics], answer.get("model_stats", []))

    def close(self) -> None:
        """Close the channel, and unregister shared memory."""
        for step in self._regions.closing() if self._regions else ():
            with contextlib.suppress(TridentError):
                self._perform(step)
        self._client.close()

    def _infer(self, request: Request, placement: Placement | None) -> Reply:
        inputs, outputs = _grpc.tensors(request, placement)
        result = self._call(
            "infer",
            request.model,
            request.model,
            inputs,
            outputs=outputs,
            timeout=microseconds_in_queue(request, self._timeout),
            client_timeout=seconds_to_answer(request, self._timeout),
        )
        return _grpc.outputs_of(request, result, placement)

    def _perform(self, step: Step) -> Reply | None:
        if isinstance(step, Infer):
            return self._infer(step.request, step.placement)
        if isinstance(step, Register):
            self._call("register_system_shared_memory", None, step.name, f"/{step.name}", step.size)
        elif isinstance(step, Unregister):
            self._call("unregister_system_shared_memory", None, step.name)
        elif isinstance(step, Clean):
            status = self._call("get_system_shared_memory_status", None)
            for name in orphaned(status.regions):
                with contextlib.suppress(TridentError):
                    self._call("unregister_system_shared_memory", None, name)
        return None

    def _call(self, method: str, model: str | None, *arguments: Any, **options: Any) -> Any:
        """Call a method of tritonclient's, for ``model``; a channel that no answer came over meanwhile is replaced."""
        client, last_answer, began = self._client, self._last_answer, time.monotonic()
        options = {"client_timeout": self._timeout.connect} | options
        try:
            answer = getattr(client, method)(*arguments, **options)
        except Cancelled:
            # Who gives up at a deadline of its own does so a moment before the call would.
            patience = min(options["client_timeout"], self._timeout.longest)
            if time.monotonic() - began >= LONG_SILENCE * patience:
                self._replace(client, last_answer)
            raise
        except InferenceServerException as error:
            failure = _grpc.translate(error, model)
            if isinstance(failure, ReadTimeoutError):
                self._replace(client, last_answer)
            else:
                self._last_answer = object()
            raise failure from error
        self._last_answer = object()
        return answer

    def _replace(self, client: triton_grpc.InferenceServerClient, last_answer: object) -> None:
        """Replace a channel, but not where an answer came, or another call replaced it, since that was the last."""
        if self._client is client and self._last_answer is last_answer:
            # A network that drops what it is given tells nobody. The old channel closes when its last call ends.
            self._client = self._connect()

    def _connect(self) -> triton_grpc.InferenceServerClient:
        check_channels()
        return triton_grpc.InferenceServerClient(
            self._url, channel_args=_grpc.channel_arguments(self._timeout), **self._security
        )
