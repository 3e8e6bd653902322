"""HTTP transports: Triton's binary-tensor protocol from ``tritonclient.http``, carried by httpx.

tritonclient's own HTTP client runs on gevent and must not be shared between threads; httpx may be. The protocol's
encoding and decoding remain tritonclient's.
"""

from __future__ import annotations

import contextlib
from typing import Any, cast
from urllib.parse import quote

import httpx
import tritonclient.http as triton_http

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
    ConnectTimeoutError,
    NotReadyError,
    OverloadedError,
    ReadTimeoutError,
    ServerError,
    TransportError,
    TridentError,
)

INDEX = "/v2/repository/index"
STATISTICS = "/v2/models/stats"
REGIONS = "/v2/systemsharedmemory"
# Any number of threads may each have a request under way; idle connections beyond the last are closed.
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=64)
HEADER_LENGTH = "Inference-Header-Content-Length"
ERRORS: dict[int, type[TridentError]] = {
    400: BadInputError,
    404: NotReadyError,
    413: BadInputError,
    429: OverloadedError,
    503: OverloadedError,
    504: ReadTimeoutError,
}
# What Triton says when a queue is full, or a request stood in it too long.
OVERLOADED = ("maximum queue size", "timeout expired")
NOT_READY = ("is not found", "is not ready", "unknown model")
# What a server says that still answers while it stops, its models taken down already.
LEAVING = ("Server is stopping", "has no available versions")


class HttpTransport:
    """Synchronous HTTP."""

    def __init__(self, url: str, timeout: Timeout, *, shared_memory: bool = False) -> None:
        self._timeout = timeout
        self._regions = Regions() if shared_memory else None
        self._client = httpx.Client(base_url=f"http://{url}", timeout=timeout.connect, limits=LIMITS, trust_env=False)

    def infer(self, request: Request) -> Response:
        """Run one inference."""
        if self._regions is None:
            return (self._infer(request, None))[0]
        steps = self._regions.steps(request)
        return drive(steps, self._do)

    def ready(self, models: tuple[str, ...]) -> bool:
        """Ask for each model's readiness, or for the server's."""
        try:
            return all(self._client.get(path).status_code == 200 for path in _ready_paths(models))
        except httpx.HTTPError as error:
            raise translate(error, None) from error

    def index(self) -> list[str]:
        """Ask for the models that are ready."""
        return ready_models(self._json("POST", INDEX))

    def configuration(self, model: str) -> Configuration:
        """Ask for a model's configuration."""
        return cast(Configuration, self._json("GET", _model_path(model, "config"), model))

    def statistics(self) -> list[Statistics]:
        """Ask for every model's statistics."""
        return cast(list[Statistics], (self._json("GET", STATISTICS))["model_stats"])

    def close(self) -> None:
        """Close the connections, and unregister shared memory."""
        for step in self._regions.closing() if self._regions else ():
            with contextlib.suppress(TridentError):
                self._do(step)
        self._client.close()

    def _infer(self, request: Request, placement: Placement | None) -> Reply:
        body, headers = _encode(request, placement)
        try:
            response = self._client.post(
                _model_path(request.model, "infer"),
                content=body,
                headers=headers,
                timeout=_httpx_timeout(self._timeout, request.timeout),
            )
        except httpx.HTTPError as error:
            raise translate(error, request.model) from error
        return _decode(request, response, placement)

    def _do(self, step: Step) -> Reply | None:
        if isinstance(step, Infer):
            return self._infer(step.request, step.placement)
        if isinstance(step, Register):
            body = {"key": f"/{step.name}", "offset": 0, "byte_size": step.size}
            self._json("POST", f"{REGIONS}/region/{step.name}/register", content=body)
        elif isinstance(step, Unregister):
            self._json("POST", f"{REGIONS}/region/{step.name}/unregister")
        elif isinstance(step, Clean):
            for name in left_behind(each["name"] for each in self._json("GET", f"{REGIONS}/status")):
                with contextlib.suppress(TridentError):
                    self._json("POST", f"{REGIONS}/region/{name}/unregister")
        return None

    def _json(self, method: str, path: str, model: str | None = None, content: Any = None) -> Any:
        try:
            return _content(self._client.request(method, path, json=content), model)
        except httpx.HTTPError as error:
            raise translate(error, model) from error


class AsyncHttpTransport:
    """HTTP for one event loop."""

    def __init__(self, url: str, timeout: Timeout, *, shared_memory: bool = False) -> None:
        self._timeout = timeout
        self._regions = Regions() if shared_memory else None
        self._client = httpx.AsyncClient(
            base_url=f"http://{url}", timeout=timeout.connect, limits=LIMITS, trust_env=False
        )

    async def infer(self, request: Request) -> Response:
        """Run one inference."""
        if self._regions is None:
            return (await self._infer(request, None))[0]
        steps = self._regions.steps(request)
        return await async_drive(steps, self._do)

    async def ready(self, models: tuple[str, ...]) -> bool:
        """Ask for each model's readiness, or for the server's."""
        try:
            for path in _ready_paths(models):
                if (await self._client.get(path)).status_code != 200:
                    return False
        except httpx.HTTPError as error:
            raise translate(error, None) from error
        return True

    async def index(self) -> list[str]:
        """Ask for the models that are ready."""
        return ready_models(await self._json("POST", INDEX))

    async def configuration(self, model: str) -> Configuration:
        """Ask for a model's configuration."""
        return cast(Configuration, await self._json("GET", _model_path(model, "config"), model))

    async def statistics(self) -> list[Statistics]:
        """Ask for every model's statistics."""
        return cast(list[Statistics], (await self._json("GET", STATISTICS))["model_stats"])

    async def close(self) -> None:
        """Close the connections, and unregister shared memory."""
        for step in self._regions.closing() if self._regions else ():
            with contextlib.suppress(TridentError):
                await self._do(step)
        await self._client.aclose()

    async def _infer(self, request: Request, placement: Placement | None) -> Reply:
        body, headers = _encode(request, placement)
        try:
            response = await self._client.post(
                _model_path(request.model, "infer"),
                content=body,
                headers=headers,
                timeout=_httpx_timeout(self._timeout, request.timeout),
            )
        except httpx.HTTPError as error:
            raise translate(error, request.model) from error
        return _decode(request, response, placement)

    async def _do(self, step: Step) -> Reply | None:
        if isinstance(step, Infer):
            return await self._infer(step.request, step.placement)
        if isinstance(step, Register):
            body = {"key": f"/{step.name}", "offset": 0, "byte_size": step.size}
            await self._json("POST", f"{REGIONS}/region/{step.name}/register", content=body)
        elif isinstance(step, Unregister):
            await self._json("POST", f"{REGIONS}/region/{step.name}/unregister")
        elif isinstance(step, Clean):
            for name in left_behind(each["name"] for each in await self._json("GET", f"{REGIONS}/status")):
                with contextlib.suppress(TridentError):
                    await self._json("POST", f"{REGIONS}/region/{name}/unregister")
        return None

    async def _json(self, method: str, path: str, model: str | None = None, content: Any = None) -> Any:
        try:
            return _content(await self._client.request(method, path, json=content), model)
        except httpx.HTTPError as error:
            raise translate(error, model) from error


def translate(error: httpx.HTTPError, model: str | None) -> TridentError:
    """Return this package's error for one of httpx's."""
    message = str(error) or type(error).__name__
    if isinstance(error, httpx.ConnectTimeout):
        return ConnectTimeoutError(f"no connection in time: {message}", model)
    if isinstance(error, httpx.TimeoutException):
        return ReadTimeoutError(f"no answer in time: {message}", model)
    return TransportError(message, model)


def _httpx_timeout(timeout: Timeout, left: float | None) -> httpx.Timeout:
    most = float("inf") if left is None else left
    return httpx.Timeout(min(timeout.read, most), connect=min(timeout.connect, most))


def _model_path(model: str, what: str) -> str:
    # A name that nobody serves must not become another address.
    return f"/v2/models/{quote(model, safe='')}/{what}"


def _ready_paths(models: tuple[str, ...]) -> list[str]:
    return [_model_path(model, "ready") for model in models] or ["/v2/health/ready"]


def _encode(request: Request, placement: Placement | None) -> tuple[bytes, dict[str, str]]:
    inputs, outputs = [], []
    for name, array in request.inputs.items():
        tensor = triton_http.InferInput(name, list(array.shape), triton_type(array))
        if placement:
            offset, size = placement.inputs[name]
            tensor.set_shared_memory(placement.region, size, offset)
        else:
            tensor.set_data_from_numpy(array, binary_data=True)
        inputs.append(tensor)
    for name in request.outputs:
        output = triton_http.InferRequestedOutput(name, binary_data=True)
        if placement and name in placement.outputs:
            offset, size = placement.outputs[name]
            output.set_shared_memory(placement.region, size, offset)
        outputs.append(output)
    body, json_size = triton_http.InferenceServerClient.generate_request_body(inputs, outputs=outputs)
    return body, {HEADER_LENGTH: str(json_size)} if json_size is not None else {}


def _decode(request: Request, response: httpx.Response, placement: Placement | None) -> Reply:
    if response.status_code != 200:
        raise _failure(response, request.model)
    length = response.headers.get(HEADER_LENGTH)
    result: Any = triton_http.InferenceServerClient.parse_response_body(
        response.content, header_length=int(length) if length else None
    )
    placed = placement.outputs if placement else {}
    outputs: dict[str, Array] = {name: result.as_numpy(name) for name in request.outputs if name not in placed}
    shapes: Shapes = {name: tuple(result.get_output(name)["shape"]) for name in placed}
    return outputs, shapes


def ready_models(index: list[dict[str, Any]]) -> list[str]:
    """Return the names of the models that Triton's index calls ready."""
    return [entry["name"] for entry in index if entry.get("state") == "READY"]


def _content(response: httpx.Response, model: str | None) -> Any:
    if response.status_code != 200:
        raise _failure(response, model)
    return response.json() if response.content else None


def _failure(response: httpx.Response, model: str | None) -> TridentError:
    try:
        message = str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        message = response.text[:500] or f"HTTP status {response.status_code}"
    if any(sign in message for sign in LEAVING):
        return TransportError(message, model)
    if any(sign in message for sign in NOT_READY):
        return NotReadyError(message, model)
    return ERRORS.get(response.status_code, ServerError)(message, model)
