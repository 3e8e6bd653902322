"""What gRPC transports send and read, with ``tritonclient.grpc``."""

from __future__ import annotations

from os import fspath
from typing import Any

import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from trident_client._http import NOT_READY, OVERLOADED, PORTS, STOPPING, check_outputs
from trident_client._shared_memory import Placement, Reply, Shapes
from trident_client._types import Array, Request, Timeout, Tls, triton_type
from trident_client.errors import (
    BadInputError,
    NotReadyError,
    OverloadedError,
    ReadTimeoutError,
    ServerError,
    TransportError,
    TridentError,
    UsageError,
)

ERRORS: dict[str, type[TridentError]] = {
    "INVALID_ARGUMENT": BadInputError,
    "NOT_FOUND": NotReadyError,
    "DEADLINE_EXCEEDED": ReadTimeoutError,
    "RESOURCE_EXHAUSTED": OverloadedError,
    "UNAVAILABLE": TransportError,
    "CANCELLED": TransportError,
}


# What gRPC says of a server that answers as HTTP does.
NO_GRPC = ("http1.x server", "Expected SETTINGS frame")


def translate(error: InferenceServerException, model: str | None) -> TridentError:
    """Return this package's error for one of tritonclient's."""
    message = str(error.message())

    def contains(phrases: tuple[str, ...]) -> bool:
        return any(phrase in message for phrase in phrases)

    if contains(NO_GRPC):
        return UsageError(f"this is a port of HTTP, not of gRPC; {PORTS}: {message}", model)
    kind = ERRORS.get(str(error.status()).removeprefix("StatusCode."), ServerError)
    # gRPC has one status for a server that is away and one that does not want to.
    if contains(STOPPING):
        kind = TransportError
    elif kind is TransportError:
        kind = NotReadyError if contains(NOT_READY) else OverloadedError if contains(OVERLOADED) else kind
    return kind(message, model)


def channel_arguments(timeout: Timeout) -> list[tuple[str, int | str]]:
    return [
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
        # As over HTTP: a proxy that the environment names is for the web, not for one's own servers.
        ("grpc.enable_http_proxy", 0),
        # Channels share connections otherwise, and what replaces a silent one, or a parent process's, would get it.
        ("grpc.use_local_subchannel_pool", 1),
        # With these, what was sent and not acknowledged for so long breaks the connection (TCP_USER_TIMEOUT). The pings
        # themselves are as rare as servers demand, five minutes, and only while a call is under way.
        ("grpc.keepalive_time_ms", 330_000),
        ("grpc.keepalive_timeout_ms", round(timeout.connect * 1000)),
        # A restarted server is found again at once; gRPC's own pauses between dials grow to two minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 200),
        # In spite of its name, how long a dial may take.
        ("grpc.min_reconnect_backoff_ms", round(timeout.connect * 1000)),
        # A name with several addresses, such as a cluster's headless service, is several servers that take turns.
        ("grpc.lb_policy_name", "round_robin"),
    ]


def channel_security(tls: Tls | None) -> dict[str, Any]:
    """Return how tritonclient's client is told of TLS.

    Raises:
        OSError: a file cannot be read.
    """
    if tls is None:
        return {}
    files = {"root_certificates": tls.authorities, "private_key": tls.key, "certificate_chain": tls.certificate}
    return {"ssl": True, **{name: file and fspath(file) for name, file in files.items()}}


def tensors(request: Request, placement: Placement | None) -> tuple[list[Any], list[Any]]:
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


def outputs_of(request: Request, result: Any, placement: Placement | None) -> Reply:
    check_outputs(request, result)
    shared = placement.outputs if placement else {}
    outputs: dict[str, Array] = {name: result.as_numpy(name) for name in request.outputs if name not in shared}
    shapes: Shapes = {name: tuple(result.get_output(name).shape) for name in shared}
    return outputs, shapes
