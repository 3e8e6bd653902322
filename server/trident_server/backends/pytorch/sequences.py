"""Sequences: the control inputs that Triton adds to their requests, and the states that it keeps between these.

Source of the rules: Triton's page on stateful models and the C++ backend's source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trident_server.backends.pytorch.errors import ConfigurationError
from trident_server.backends.pytorch.naming import index_of
from trident_server.backends.pytorch.tensors import ELEMENT_TYPES, Tensor

#: What a control's pair of values is named by, and the type that the tensor has then.
CONTROL_TYPES = {"int32_false_true": "TYPE_INT32", "fp32_false_true": "TYPE_FP32", "bool_false_true": "TYPE_BOOL"}


@dataclass(frozen=True)
class State:
    """What Triton keeps of a sequence from one request to the next (``state`` of ``sequence_batching``).

    Attributes:
        input: the argument of ``forward`` that gets it.
        output: the output of ``forward`` that it is replaced by.
    """

    input: Tensor
    output: Tensor


def controls_of(config: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """Return the control inputs of a configuration in Triton's JSON form; none where it serves no sequences.

    Raises:
        ConfigurationError: a name has no index, or the type is one that torch lacks.
    """
    return tuple(_control(each) for each in config.get("sequence_batching", {}).get("control_input", ()))


def states_of(config: Mapping[str, Any]) -> tuple[State, ...]:
    """Return the states of a configuration in Triton's JSON form.

    Raises:
        ConfigurationError: an output's name has no index, or the type is none that torch computes with.
    """
    return tuple(_state(config["name"], each) for each in config.get("sequence_batching", {}).get("state", ()))


def _control(config: Mapping[str, Any]) -> Tensor:
    name, control = config["name"], config["control"][0]
    _check_index("input", name)
    given = [data_type for key, data_type in CONTROL_TYPES.items() if control.get(key)]
    data_type = given[0] if given else control["data_type"]
    if data_type not in ELEMENT_TYPES:
        raise ConfigurationError(f"input '{name}' type '{data_type}' is not supported by PyTorch.")
    return Tensor(name, data_type, (1,))


def _state(model: str, config: Mapping[str, Any]) -> State:
    data_type, dims = config["data_type"], tuple(config["dims"])
    if data_type not in ELEMENT_TYPES:
        raise ConfigurationError(
            f"unsupported datatype {data_type} for input state '{config['input_name']}' for model '{model}'"
        )
    _check_index("state", config["output_name"])
    return State(Tensor(config["input_name"], data_type, dims), Tensor(config["output_name"], data_type, dims))


def _check_index(kind: str, name: str) -> None:
    if index_of(name) is None:
        raise ConfigurationError(f"{kind} '{name}' does not follow <name>__<index> naming convention.")
