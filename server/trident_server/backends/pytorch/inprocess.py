"""The ``pytorch`` backend inside Triton's own process: what ``inprocess.c`` calls, with Triton's memory as it lies."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

from trident_server.backends.pytorch.batch import Array
from trident_server.backends.pytorch.configuration import ELEMENT_TYPES, STRING
from trident_server.backends.pytorch.errors import RequestError
from trident_server.backends.pytorch.served import Failure, Outputs, ServedModel

#: Triton's name of the type, shape, and the pieces of memory that hold the content.
Tensor = tuple[str, tuple[int, ...], Sequence[memoryview]]
#: An output as it is to be sent: its name, Triton's name of the type, shape and content.
Output = tuple[str, str, tuple[int, ...], Array | bytes]
#: The error's code as ``inprocess.c`` knows it, and its message.
Error = tuple[str, str]

#: The products of a batch keep all cores busy, what surrounds them keeps one: two batches fill each other's gaps.
MOST_WORKERS = 2
TYPES = {name.removeprefix("TYPE_"): np.dtype(dtype) for name, dtype in ELEMENT_TYPES.items()}


class InProcessModel:
    """One instance of one TorchScript model.

    Args:
        config: Triton's JSON form of the configuration.
        folder: the version's folder.
        kind: Triton's instance kind.
        device_id: which GPU.
    """

    def __init__(self, config: str, folder: str, kind: str, device_id: int) -> None:
        self._model = ServedModel(json.loads(config), Path(folder), kind, device_id)
        self._data_types = {
            each.name: "BYTES" if each.data_type == STRING else each.data_type.removeprefix("TYPE_")
            for each in self._model.configuration.outputs
        }

    @property
    def is_batching(self) -> bool:
        """Whether tensors have a batch dimension."""
        return self._model.configuration.max_batch_size > 0

    @property
    def workers(self) -> int:
        """How many batches may be answered at a time."""
        return MOST_WORKERS if self._model.is_stateless else 1

    def __str__(self) -> str:
        return f"{self._model}, in Triton's process, {self.workers} at a time"

    def execute(self, requests: Sequence[Mapping[str, Tensor]], company: int) -> list[list[Output] | Error]:
        """Answer all requests.

        Args:
            requests: each one's inputs by name. Their memory is Triton's, and no longer valid after this call.
            company: how many batches, this one among them, are being answered in Triton's process.
        """
        answers = self._model.answer([partial(_input, request) for request in requests], company)
        return [
            (answer.code, answer.message) if isinstance(answer, Failure) else self._outputs(answer)
            for answer in answers
        ]

    def _outputs(self, answer: Outputs) -> list[Output]:
        return [
            (
                name,
                self._data_types[name],
                array.shape,
                _texts(array) if array.dtype.hasobject else np.ascontiguousarray(array),
            )
            for name, array in answer.items()
        ]


def _input(request: Mapping[str, Tensor], name: str) -> Array | None:
    """Return an input as an array on Triton's memory; of ``bytes``, and a copy, for text.

    Raises:
        RequestError: the content does not fill the shape.
    """
    if name not in request:
        return None
    data_type, shape, pieces = request[name]
    content = pieces[0] if len(pieces) == 1 else bytearray().join(pieces)
    try:
        if data_type == "BYTES":
            texts: Array = deserialize_bytes_tensor(content).reshape(shape)
            return texts
        array: Array = np.frombuffer(content, TYPES[data_type]).reshape(shape)
    except (ValueError, struct.error) as error:
        raise RequestError(f"input '{name}' does not fill its shape {list(shape)}: {error}") from error
    # What came over the network lies where its message had it.
    return array if array.flags.aligned else array.copy()


def _texts(array: Array) -> bytes:
    # Of no texts, the library makes no bytes.
    return serialize_byte_tensor(array).item() if array.size else b""
