"""Requests as bytes, one sentence or question each, and the embedding in an answer: every server's own form."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import tritonclient.http as triton_http
from tritonclient.grpc import service_pb2
from tritonclient.utils import serialize_byte_tensor

from trident_bench.compare.load import http_request

Vector = npt.NDArray[np.float32]
Read = Callable[[bytes], Vector]


def triton_http_request(address: str, model: str, inputs: dict[str, str], outputs: Sequence[str]) -> bytes:
    """Return a KServe request with binary tensors in and out, as Triton's own client sends it."""
    tensors = []
    for name, text in inputs.items():
        tensor = triton_http.InferInput(name, [1, 1], "BYTES")
        tensor.set_data_from_numpy(_bytes(text))
        tensors.append(tensor)
    asked = [triton_http.InferRequestedOutput(name, binary_data=True) for name in outputs]
    body, header_length = triton_http.InferenceServerClient.generate_request_body(tensors, outputs=asked)
    headers = {"content-type": "application/octet-stream"}
    if header_length is not None:
        headers["inference-header-content-length"] = str(header_length)
    return http_request(address, f"/v2/models/{model}/infer", body, headers)


def triton_grpc_request(model: str, inputs: dict[str, str], outputs: Sequence[str]) -> bytes:
    """Return the same as a serialised message."""
    request = service_pb2.ModelInferRequest(model_name=model)
    for name, text in inputs.items():
        request.inputs.add(name=name, datatype="BYTES", shape=[1, 1])
        request.raw_input_contents.append(serialize_byte_tensor(_bytes(text)).item())
    for name in outputs:
        request.outputs.add(name=name)
    content: bytes = request.SerializeToString()
    return content


def json_request(address: str, path: str, content: object) -> bytes:
    """Return a POST of JSON."""
    return http_request(address, path, json.dumps(content).encode(), {"content-type": "application/json"})


def from_triton_http(answer: bytes) -> Vector:
    """Return the one tensor behind the answer's JSON header."""
    # Latin-1 keeps every byte a character of its own.
    _, end = json.JSONDecoder().raw_decode(answer.decode("latin-1"))
    return np.frombuffer(answer[end:], dtype=np.float32)


def from_triton_grpc(answer: bytes) -> Vector:
    """Return the one tensor of a serialised answer."""
    response = service_pb2.ModelInferResponse.FromString(answer)
    return np.frombuffer(response.raw_output_contents[0], dtype=np.float32)


def from_json(*path: str | int) -> Read:
    """Return a reader of JSON that takes the list at this path."""

    def read(answer: bytes) -> Vector:
        found = json.loads(answer)
        for step in path:
            found = found[step]
        return np.asarray(found, dtype=np.float32)

    return read


def _bytes(text: str) -> npt.NDArray[np.object_]:
    return np.array([[text.encode()]], dtype=np.object_)
