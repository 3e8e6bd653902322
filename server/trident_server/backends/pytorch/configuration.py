"""What a model's ``config.pbtxt`` says to the ``pytorch`` backend.

Source of the rules: Triton's model configuration page and the C++ backend's source.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trident_server.backends.pytorch.errors import ConfigurationError
from trident_server.backends.pytorch.parameters import Parameters

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


@dataclass(frozen=True)
class BatchInput:
    """An argument that describes the shapes of an input over the batch.

    Attributes:
        name: its name, to be bound to an argument of ``forward``.
        kind: what it says; see :func:`~trident_server.backends.pytorch.batch.describe`.
        data_type: ``TYPE_INT32`` or ``TYPE_FP32``.
        source: the input that it describes.
    """

    name: str
    kind: str
    data_type: str
    source: str


@dataclass(frozen=True)
class ModelConfiguration:
    """The parts of a model's configuration that decide how ``forward`` is called.

    Attributes:
        name: the model's name.
        file_name: the TorchScript file in the version's folder.
        max_batch_size: 0 where tensors have no batch dimension.
        inputs: configured inputs.
        outputs: configured outputs.
        batch_inputs: further arguments of ``forward``.
        scattered: by name of an output that is split by an input's shape (``batch_output``), that input's name.
        instances: how many instances, that is processes, serve the model.
        parameters: how the module is executed.
    """

    name: str
    file_name: str
    max_batch_size: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    batch_inputs: tuple[BatchInput, ...]
    scattered: Mapping[str, str]
    instances: int
    parameters: Parameters

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> ModelConfiguration:
        """Read Triton's JSON form of the configuration.

        Raises:
            ConfigurationError: the backend cannot serve a model so configured.
        """
        batching = config["max_batch_size"] > 0
        configuration = cls(
            name=config["name"],
            file_name=config.get("default_model_filename") or "model.pt",
            max_batch_size=config["max_batch_size"],
            inputs=tuple(_tensor(each, batching) for each in config.get("input", ())),
            outputs=tuple(_tensor(each, batching) for each in config.get("output", ())),
            batch_inputs=tuple(
                BatchInput(name, each["kind"], each["data_type"], each["source_input"][0])
                for each in config.get("batch_input", ())
                for name in each["target_name"]
            ),
            scattered={
                name: each["source_input"][0] for each in config.get("batch_output", ()) for name in each["target_name"]
            },
            instances=_instances(config.get("instance_group", ())),
            parameters=Parameters.parse(
                {key: each.get("string_value", "") for key, each in config.get("parameters", {}).items()}
            ),
        )
        if not configuration.inputs or not configuration.outputs:
            raise ConfigurationError(
                "at least one input and one output must be configured: the pytorch backend cannot complete a "
                "configuration from the model"
            )
        if "sequence_batching" in config:
            raise ConfigurationError("the pytorch backend serves no sequence_batching here; use dynamic_batching")
        for output in configuration.outputs:
            configuration._check_scattered(output)
        return configuration

    def threads(self) -> int:
        """Threads inside an operation: as configured, else the cores of this process shared among the instances."""
        if self.parameters.intra_op_threads > 0:
            return self.parameters.intra_op_threads
        return max(1, len(os.sched_getaffinity(0)) // self.instances)

    def _check_scattered(self, output: Tensor) -> None:
        source = self.scattered.get(output.name)
        if source is None:
            return
        if output.data_type == STRING:
            raise ConfigurationError(f"output '{output.name}' is text, which no batch_output can split")
        rank = next(len(each.dims) for each in self.inputs if each.name == source)
        if -1 in output.dims[rank:]:
            raise ConfigurationError(
                f"output '{output.name}' has a variable dimension past the {rank} of input '{source}', by whose shape "
                "it is split"
            )


def _tensor(config: Mapping[str, Any], batching: bool) -> Tensor:
    name, data_type = config["name"], config["data_type"]
    dims = config.get("reshape", {}).get("shape", config["dims"])
    if data_type != STRING and data_type not in ELEMENT_TYPES:
        raise ConfigurationError(
            f"'{name}' has data type {data_type}, which the pytorch backend does not serve; it serves "
            f"{', '.join([*ELEMENT_TYPES, STRING])}"
        )
    if data_type == STRING and len(dims) + batching > 1:
        raise ConfigurationError(
            f"'{name}' is text of more than one dimension, the batch's included; the pytorch backend serves text as a "
            "List[str] only: with max_batch_size add reshape { shape: [ ] }, else use dims: [ -1 ]"
        )
    return Tensor(name, data_type, tuple(dims), bool(config.get("allow_ragged_batch")))


def _instances(groups: Sequence[Mapping[str, Any]]) -> int:
    # A group for several GPUs has its count on each.
    return max(1, sum(int(group.get("count", 1)) * max(1, len(group.get("gpus", ()))) for group in groups))
