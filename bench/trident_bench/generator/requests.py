"""Requests as bytes and the embedding in an answer, by protocol: one item each, such as a sentence or a question."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tritonclient.http as triton_http
from tritonclient.grpc import service_pb2
from tritonclient.utils import serialize_byte_tensor

from trident_bench.ensembles import Ensemble, Item
from trident_bench.generator.grpc import triton_grpc
from trident_bench.generator.http import http, http_request
from trident_bench.generator.loop import Connector

Vector = npt.NDArray[np.float32]
Read = Callable[[bytes], Vector]


@dataclass(frozen=True)
class Wire:
    """One way to a served ensemble.

    Attributes:
        connect: opens connections to an address.
        request: makes the request of an address, an ensemble and an item.
        embedding: reads the vector out of an answer of an ensemble that embeds.
    """

    connect: Callable[[str], Connector]
    request: Callable[[str, Ensemble, Item], bytes]
    embedding: Read


def triton_http_request(address: str, ensemble: Ensemble, item: Item) -> bytes:
    """Return a KServe request with binary tensors in and out, as Triton's own client sends it."""
    tensors = []
    for name, array in ensemble.tensors(item).items():
        tensor = triton_http.InferInput(name, list(array.shape), "BYTES")
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    wanted = [triton_http.InferRequestedOutput(name, binary_data=True) for name in ensemble.outputs]
    body, header_length = triton_http.InferenceServerClient.generate_request_body(tensors, outputs=wanted)
    headers = {"content-type": "application/octet-stream"}
    if header_length is not None:
        headers["inference-header-content-length"] = str(header_length)
    return http_request(address, f"/v2/models/{ensemble.name}/infer", body, headers)


def triton_grpc_request(address: str, ensemble: Ensemble, item: Item) -> bytes:
    """Return the same as a serialised message."""
    request = service_pb2.ModelInferRequest(model_name=ensemble.name)
    for name, array in ensemble.tensors(item).items():
        request.inputs.add(name=name, datatype="BYTES", shape=array.shape)
        request.raw_input_contents.append(serialize_byte_tensor(array).item())
    for name in ensemble.outputs:
        request.outputs.add(name=name)
    content: bytes = request.SerializeToString()
    return content


def facade_request(address: str, ensemble: Ensemble, item: Item) -> bytes:
    """Return the facade's request: a list of one item, which it takes for every task."""
    return json_request(address, ensemble.spec.list_path, ensemble.body(item))


def json_request(address: str, path: str, content: object) -> bytes:
    """Return a POST of JSON."""
    body = json.dumps(content, ensure_ascii=False).encode()
    return http_request(address, path, body, {"content-type": "application/json"})


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


WIRES: dict[str, Wire] = {
    "http": Wire(http, triton_http_request, from_triton_http),
    "grpc": Wire(triton_grpc, triton_grpc_request, from_triton_grpc),
    "facade": Wire(http, facade_request, from_json("embeddings", 0)),
}
