"""What HTTP transports send and read: Triton's binary-tensor protocol from ``tritonclient.http``, carried by httpx.

tritonclient's own HTTP client runs on gevent and must not be shared between threads; httpx may be. The protocol's
encoding and decoding remain tritonclient's.
"""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import quote

import httpx
import tritonclient.http as triton_http

from trident_client._shared_memory import Placement, Reply, Shapes
from trident_client._types import Array, Request, Timeout, Tls, microseconds_in_queue, seconds_to_answer, triton_type
from trident_client.errors import (
    BadInputError,
    ConnectTimeoutError,
    NotReadyError,
    OverloadedError,
    ReadTimeoutError,
    ServerError,
    TransportError,
    TridentError,
    UsageError,
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
PORTS = "the client asks Triton itself, on its port for HTTP (8010 unless told otherwise) or for gRPC (8011)"
# What Triton says when a queue is full, or a request stood in it too long.
OVERLOADED = ("maximum queue size", "timeout expired")
NOT_READY = ("is not found", "is not ready", "unknown model")
# What a server says that still answers while it stops, its models taken down already.
STOPPING = ("Server is stopping", "has no available versions")


def translate(error: httpx.HTTPError, model: str | None) -> TridentError:
    """Return this package's error for one of httpx's."""
    message = str(error) or type(error).__name__
    if isinstance(error, httpx.ConnectTimeout):
        return ConnectTimeoutError(f"no connection in time: {message}", model)
    if isinstance(error, httpx.TimeoutException):
        return ReadTimeoutError(f"no answer in time: {message}", model)
    return TransportError(message, model)


def httpx_timeout(request: Request, timeout: Timeout) -> httpx.Timeout:
    seconds = seconds_to_answer(request, timeout)
    return httpx.Timeout(seconds, connect=min(timeout.connect, seconds))


def verification(tls: Tls | None) -> ssl.SSLContext | bool:
    """Return how httpx tells a server's certificate; nothing to do where none is asked for.

    Raises:
        OSError: a file cannot be read, or is not PEM.
    """
    if tls is None:
        return False
    context = ssl.create_default_context(cafile=tls.authorities)
    if tls.certificate is not None:
        context.load_cert_chain(tls.certificate, tls.key)
    return context


def model_path(model: str, endpoint: str) -> str:
    # A name that nobody serves must not become another address.
    return f"/v2/models/{quote(model, safe='')}/{endpoint}"


def ready_paths(models: tuple[str, ...]) -> list[str]:
    return [model_path(model, "ready") for model in models] or ["/v2/health/ready"]


def encode(request: Request, placement: Placement | None, timeout: Timeout) -> tuple[bytes, dict[str, str]]:
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
    body, json_size = triton_http.InferenceServerClient.generate_request_body(
        inputs, outputs=outputs, timeout=microseconds_in_queue(request, timeout)
    )
    return body, {HEADER_LENGTH: str(json_size)} if json_size is not None else {}


def decode(request: Request, response: httpx.Response, placement: Placement | None) -> Reply:
    if response.status_code != 200:
        raise _failure(response, request.model)
    length = response.headers.get(HEADER_LENGTH)
    result: Any = triton_http.InferenceServerClient.parse_response_body(
        response.content, header_length=int(length) if length else None
    )
    check_outputs(request, result)
    shared = placement.outputs if placement else {}
    outputs: dict[str, Array] = {name: result.as_numpy(name) for name in request.outputs if name not in shared}
    shapes: Shapes = {name: tuple(result.get_output(name)["shape"]) for name in shared}
    return outputs, shapes


def check_outputs(request: Request, result: Any) -> None:
    """Refuse an answer that is none: Triton gives it when a Python model's process dies while it answers.

    Args:
        request: names the outputs.
        result: of either protocol of tritonclient's.

    Raises:
        TransportError: an output is not there; another attempt may have it.
    """
    if absent := [name for name in request.outputs if result.get_output(name) is None]:
        raise TransportError(f"the answer has no {', '.join(absent)}", request.model)


def is_ready(response: httpx.Response) -> bool:
    """Return what the server says of its readiness, or of a model's."""
    if response.status_code == 200:
        return True
    _refuse_facade(response, None)
    return False


def ready_models(index: list[dict[str, Any]]) -> list[str]:
    """Return the names of the models that Triton's index calls ready."""
    # While one version takes another's place, both may be ready.
    return list(dict.fromkeys(entry["name"] for entry in index if entry.get("state") == "READY"))


def content(response: httpx.Response, model: str | None) -> Any:
    if response.status_code != 200:
        raise _failure(response, model)
    return response.json() if response.content else None


def _failure(response: httpx.Response, model: str | None) -> TridentError:
    _refuse_facade(response, model)
    try:
        message = str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        message = response.text[:500] or f"HTTP status {response.status_code}"
    if any(phrase in message for phrase in STOPPING):
        return TransportError(message, model)
    if any(phrase in message for phrase in NOT_READY):
        return NotReadyError(message, model)
    return ERRORS.get(response.status_code, ServerError)(message, model)


def _refuse_facade(response: httpx.Response, model: str | None) -> None:
    """Refuse an answer of Trident's facade, whose errors are problems as RFC 9457 has them; Triton's never are."""
    if response.headers.get("content-type", "").startswith("application/problem+json"):
        raise UsageError(f"this is the port of Trident's facade; {PORTS}", model)
