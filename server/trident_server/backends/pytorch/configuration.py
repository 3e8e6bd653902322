"""What a model's ``config.pbtxt`` says to the ``pytorch`` backend.

Source of the rules: Triton's model configuration page and the C++ backend's documented parameters, release 24.10.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

TORCH_TYPES: Mapping[str, torch.dtype] = {
    "TYPE_BOOL": torch.bool,
    "TYPE_UINT8": torch.uint8,
    "TYPE_INT8": torch.int8,
    "TYPE_INT16": torch.int16,
    "TYPE_INT32": torch.int32,
    "TYPE_INT64": torch.int64,
    "TYPE_FP16": torch.float16,
    "TYPE_FP32": torch.float32,
    "TYPE_FP64": torch.float64,
}
INDEXED_NAME = re.compile(r".*__(\d+)$")


class ConfigurationError(ValueError):
    """The model cannot be served as configured; the text says what and what is accepted."""


@dataclass(frozen=True)
class Tensor:
    """One configured input or output.

    Attributes:
        name: the tensor's name.
        data_type: Triton's name of its type, such as ``TYPE_FP32``.
        dims: its shape without the batch dimension; -1 where it varies.
        ragged: requests of different shapes join, flattened and concatenated.
    """

    name: str
    data_type: str
    dims: tuple[int, ...]
    ragged: bool = False


@dataclass(frozen=True)
class BatchTensor:
    """A ``batch_input`` or ``batch_output``: a tensor that describes, or is split by, an input's shapes."""

    name: str
    kind: str
    data_type: str
    source: str


@dataclass(frozen=True)
class ModelConfiguration:
    """The parts of a model's configuration that decide how ``forward`` is called."""

    name: str
    file_name: str
    max_batch_size: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    batch_inputs: tuple[BatchTensor, ...]
    batch_outputs: tuple[BatchTensor, ...]
    instances: int
    parameters: Mapping[str, str]

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> ModelConfiguration:
        """Read Triton's JSON form of the configuration.

        Raises:
            ConfigurationError: a data type that the backend cannot serve, or no input or output.
        """
        configuration = cls(
            name=config["name"],
            file_name=config.get("default_model_filename") or "model.pt",
            max_batch_size=config["max_batch_size"],
            inputs=tuple(_tensor(each) for each in config["input"]),
            outputs=tuple(_tensor(each) for each in config["output"]),
            batch_inputs=tuple(batch for each in config.get("batch_input", ()) for batch in _batch_tensors(each)),
            batch_outputs=tuple(batch for each in config.get("batch_output", ()) for batch in _batch_tensors(each)),
            instances=sum(group.get("count", 1) for group in config.get("instance_group", ())) or 1,
            parameters={key: each["string_value"] for key, each in config.get("parameters", {}).items()},
        )
        if not configuration.inputs or not configuration.outputs:
            raise ConfigurationError(
                f"model '{configuration.name}' must configure its inputs and outputs: the pytorch backend cannot "
                "complete a configuration"
            )
        return configuration

    def boolean(self, key: str, default: bool) -> bool:
        """Return a true/false parameter, or ``default`` when it is not set."""
        words = {"true": True, "1": True, "false": False, "0": False}
        return bool(self._parameter(key, default, lambda text: words[text.lower()], "true or false"))

    def integer(self, key: str, default: int) -> int:
        """Return an integer parameter, or ``default`` when it is not set."""
        return int(self._parameter(key, default, int, "an integer"))

    def _parameter(self, key: str, default: int, parse: Callable[[str], int], accepted: str) -> int:
        if key not in self.parameters:
            return default
        try:
            return parse(self.parameters[key])
        except (ValueError, KeyError):
            raise ConfigurationError(
                f"parameter '{key}' of model '{self.name}' must be {accepted}, got '{self.parameters[key]}'"
            ) from None

    def intra_op_threads(self) -> int:
        """Threads for one operation: as configured, else this process's share of the cores for one instance."""
        configured = self.integer("INTRA_OP_THREAD_COUNT", 0)
        return configured if configured > 0 else max(1, len(os.sched_getaffinity(0)) // self.instances)


def bind_inputs(names: Sequence[str], arguments: Sequence[str]) -> list[int]:
    """Return each input's position among ``forward``'s arguments.

    By name where all names are argument names; else by the index that all names end in (``__<index>``); else in the
    order of the configuration.

    Args:
        names: configured inputs, batch inputs after them.
        arguments: names of ``forward``'s arguments, without ``self``.

    Raises:
        ConfigurationError: the names do not fill ``forward``'s arguments one to one.
    """
    if all(name in arguments for name in names):
        positions = [arguments.index(name) for name in names]
    else:
        positions = indexed(names) or list(range(len(names)))
    if sorted(positions) != list(range(len(names))) or len(names) > len(arguments):
        raise ConfigurationError(
            f"the inputs {list(names)} do not fill the arguments of forward{tuple(arguments)} one to one; name them "
            "after the arguments, or <name>__<index>, or give them in the arguments' order"
        )
    return positions


def indexed(names: Sequence[str]) -> list[int] | None:
    """Return the indices that names of the form ``<name>__<index>`` carry; None unless all have that form."""
    matches = [INDEXED_NAME.match(name) for name in names]
    return [int(match.group(1)) for match in matches if match] if all(matches) else None


def _tensor(config: Mapping[str, Any]) -> Tensor:
    dims = config.get("reshape", {}).get("shape", config["dims"])
    tensor = Tensor(config["name"], config["data_type"], tuple(dims), bool(config.get("allow_ragged_batch")))
    if tensor.data_type != "TYPE_STRING" and tensor.data_type not in TORCH_TYPES:
        raise ConfigurationError(
            f"'{tensor.name}' has data type {tensor.data_type}, which the pytorch backend does not serve; it serves "
            f"{', '.join([*TORCH_TYPES, 'TYPE_STRING'])}"
        )
    return tensor


def _batch_tensors(config: Mapping[str, Any]) -> list[BatchTensor]:
    (source,) = config["source_input"]
    return [BatchTensor(name, config["kind"], config.get("data_type", ""), source) for name in config["target_name"]]
