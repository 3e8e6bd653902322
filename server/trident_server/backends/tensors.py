"""Tensors between Triton's memory and NumPy, for what runs inside Triton's process."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

Array = npt.NDArray[np.generic]
#: Triton's name of the type, shape, and the pieces of memory that hold the content.
Tensor = tuple[str, tuple[int, ...], Sequence[memoryview]]
#: An output as it is to be sent: its name, Triton's name of the type, shape and content.
Output = tuple[str, str, tuple[int, ...], Array | bytes]
#: What Triton is to keep for a sequence, as an output with a mark behind it.
State = tuple[str, str, tuple[int, ...], Array | bytes, bool]
#: The name of the error's code, ``inprocess.c`` has them all, and its message.
Error = tuple[str, str]

TEXT = "BYTES"
DTYPES = {
    **{name.upper(): np.dtype(name) for name in ("bool", "int8", "int16", "int32", "int64")},
    **{name.upper(): np.dtype(name) for name in ("uint8", "uint16", "uint32", "uint64")},
    **{f"FP{bits}": np.dtype(f"float{bits}") for bits in (16, 32, 64)},
}


def data_type(configured: str) -> str:
    """Return Triton's name of a type in requests for its name in configurations, such as ``TYPE_FP32``."""
    name = configured.removeprefix("TYPE_")
    return TEXT if name == "STRING" else name


def read(name: str, tensor: Tensor) -> Array:
    """Return an input as an array on Triton's memory; of ``bytes``, and a copy, for text.

    Raises:
        ValueError: the content does not fill the shape.
    """
    kind, shape, pieces = tensor
    content = pieces[0] if len(pieces) == 1 else bytearray().join(pieces)
    try:
        if kind == TEXT:
            texts: Array = deserialize_bytes_tensor(content).reshape(shape)
            return texts
        array: Array = np.frombuffer(content, DTYPES[kind]).reshape(shape)
    except (ValueError, struct.error) as error:
        raise ValueError(f"input '{name}' does not fill its shape {list(shape)}: {error}") from error
    # What came over the network lies where its message had it.
    return array if array.flags.aligned else array.copy()


def write(name: str, kind: str, array: Array) -> Output:
    """Return an array as the output of that name and of Triton's type ``kind``."""
    if kind != TEXT:
        return name, kind, array.shape, np.ascontiguousarray(array)
    # Of no texts, the library makes no bytes.
    return name, kind, array.shape, serialize_byte_tensor(array).item() if array.size else b""
