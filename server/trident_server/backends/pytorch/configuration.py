"""What a model's ``config.pbtxt`` says to the ``pytorch`` backend.

What the C++ backend refuses is refused here, in its words where they are known; so is what it would load and then
answer wrongly, and that text says what it would do. Source of the rules: Triton's model configuration page, the C++
backend's source, and that backend itself, run on models of the kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trident_server.backends.cores import usable_cores
from trident_server.backends.pytorch.errors import ConfigurationError
from trident_server.backends.pytorch.parameters import Parameters
from trident_server.backends.pytorch.sequences import State, controls_of, states_of
from trident_server.backends.pytorch.tensors import STRING, Tensor, tensors_of


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
        instances: how many instances serve the model.
        parameters: how the module is executed.
        controls: inputs by which Triton tells where in a sequence a request stands.
        states: what Triton keeps of a sequence.
        is_of_sequences: the requests of a sequence must be answered one after another.
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
    controls: tuple[Tensor, ...] = ()
    states: tuple[State, ...] = ()
    is_of_sequences: bool = False

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> ModelConfiguration:
        """Read Triton's JSON form of the configuration.

        Raises:
            ConfigurationError: the backend cannot serve a model so configured.
        """
        configuration = cls(
            name=config["name"],
            file_name=config.get("default_model_filename") or "model.pt",
            max_batch_size=config["max_batch_size"],
            inputs=tensors_of(config, "input"),
            outputs=tensors_of(config, "output"),
            batch_inputs=tuple(_batch_input(config["name"], each) for each in config.get("batch_input", ())),
            scattered=dict(_batch_output(each) for each in config.get("batch_output", ())),
            instances=_instances(config.get("instance_group", ())),
            parameters=Parameters.parse(
                {key: each.get("string_value", "") for key, each in config.get("parameters", {}).items()}
            ),
            controls=controls_of(config),
            states=states_of(config),
            is_of_sequences="sequence_batching" in config,
        )
        joins = config["max_batch_size"] > 1 and bool({"dynamic_batching", "sequence_batching"} & set(config))
        for output in configuration.outputs:
            configuration._check_scattered(output)
            if joins and output.data_type == STRING:
                raise ConfigurationError(
                    f"output '{output.name}' is text, and requests join: the C++ backend would give each of them the "
                    "first texts of the batch; leave out dynamic_batching and sequence_batching, or set "
                    "max_batch_size: 1"
                )
        return configuration

    @property
    def given(self) -> tuple[Tensor, ...]:
        """All tensors that a request brings: inputs, then controls, then states."""
        return (*self.inputs, *self.controls, *(each.input for each in self.states))

    def threads(self) -> int:
        """Threads inside an operation: as configured, else the cores of this process shared among the instances."""
        if self.parameters.intra_op_threads > 0:
            return self.parameters.intra_op_threads
        return max(1, usable_cores() // self.instances)

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


def _batch_input(model: str, config: Mapping[str, Any]) -> BatchInput:
    names = config["target_name"]
    if len(names) != 1:
        raise ConfigurationError(
            f"unable to load model '{model}', a batch_input has the target names {', '.join(names)}: the C++ backend "
            "counts an entry as one input; configure an entry for each name"
        )
    return BatchInput(names[0], config["kind"], config["data_type"], config["source_input"][0])


def _batch_output(config: Mapping[str, Any]) -> tuple[str, str]:
    names = config["target_name"]
    if len(names) != 1:
        raise ConfigurationError(
            f"a batch_output has the target names {', '.join(names)}: the C++ backend would answer each of these "
            "outputs under the first name and leave out the others; configure an entry for each name"
        )
    return names[0], config["source_input"][0]


def _instances(groups: Sequence[Mapping[str, Any]]) -> int:
    # A group for several GPUs has its count on each.
    return max(1, sum(int(group.get("count", 1)) * max(1, len(group.get("gpus", ()))) for group in groups))
