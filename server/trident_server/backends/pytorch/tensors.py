"""Configured tensors of a TorchScript model, and the types that they may have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trident_server.backends.pytorch.errors import ConfigurationError

STRING = "TYPE_STRING"
# NumPy and torch agree on these names.
ELEMENT_TYPES: Mapping[str, str] = {
    "TYPE_BOOL": "bool",
    "TYPE_UINT8": "uint8",
    "TYPE_INT8": "int8",
    "TYPE_INT16": "int16",
    "TYPE_INT32": "int32",
    "TYPE_INT64": "int64",
    "TYPE_FP16": "float16",
    "TYPE_FP32": "float32",
    "TYPE_FP64": "float64",
}


@dataclass(frozen=True)
class Tensor:
    """One configured input or output.

    Attributes:
        name: the tensor's name.
        data_type: Triton's name of its type, such as ``TYPE_FP32``.
        dims: its shape as the model sees it (after ``reshape``), without the batch dimension; -1 where it varies.
        ragged: requests of different shapes join, flattened and concatenated.
    """

    name: str
    data_type: str
    dims: tuple[int, ...]
    ragged: bool = False


def tensors_of(config: Mapping[str, Any], kind: str) -> tuple[Tensor, ...]:
    """Return the inputs or the outputs of a configuration in Triton's JSON form.

    Args:
        config: the model's.
        kind: ``input`` or ``output``.

    Raises:
        ConfigurationError: there is none, or one that the C++ backend refuses; in its words.
    """
    found = tuple(_tensor(config, kind, each) for each in config.get(kind, ()))
    if not found:
        raise ConfigurationError(f"model configuration must contain at least one {kind}, none were specified.")
    return found


def _tensor(config: Mapping[str, Any], kind: str, tensor: Mapping[str, Any]) -> Tensor:
    name, data_type = tensor["name"], tensor["data_type"]
    dims = tensor.get("reshape", {}).get("shape", tensor["dims"])
    if tensor.get("optional"):
        raise ConfigurationError(
            f"'optional' is set to true for input '{name}' while the backend model doesn't support optional input"
        )
    if data_type != STRING and data_type not in ELEMENT_TYPES:
        raise ConfigurationError(
            f"unsupported datatype {data_type} for {kind} '{name}' for model '{config['name']}'; supported are "
            f"{', '.join([*ELEMENT_TYPES, STRING])}"
        )
    if data_type == STRING and len(dims) + (config["max_batch_size"] > 0) > 1:
        raise ConfigurationError(
            f"Triton only supports 1 dimensional List of String as {kind} for '{name}' for model '{config['name']}', "
            "the batch's dimension included: with max_batch_size add reshape { shape: [ ] }, else use dims: [ -1 ]"
        )
    return Tensor(name, data_type, tuple(dims), bool(tensor.get("allow_ragged_batch")))
