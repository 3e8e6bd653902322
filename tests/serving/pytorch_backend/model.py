"""What a model of the contract is made of, and pieces of configurations."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

TYPES = ["BOOL", "UINT8", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64"]


@dataclass(frozen=True)
class Model:
    """One model: what it computes, its configuration without the backend, the file it lies in, and others by path."""

    module: nn.Module | None
    config: str
    backend: str = 'backend: "pytorch"'
    file_name: str = "model.pt"
    instances: int = 1
    files: Mapping[str, bytes] = field(default_factory=dict)


def tensors(field: str, prefix: str) -> str:
    """Return one tensor of every type that can be configured."""
    names = [
        f'{{ name: "{prefix}{kind}__{place}" data_type: TYPE_{kind} dims: [ 2 ] }}' for place, kind in enumerate(TYPES)
    ]
    return f"{field} [ {', '.join(names)} ]\n"


def batch_input(name: str, kind: str, data_type: str) -> str:
    return f'batch_input {{ kind: {kind} target_name: "{name}" data_type: TYPE_{data_type} source_input: "X" }}\n'


def sample(name: str, batch_size: int, **inputs: str) -> str:
    """Return a warm-up, each input's type, dimensions and content as the protocol has them."""
    given = "".join(f'inputs {{ key: "{key}" value: {{ {text} }} }}\n' for key, text in inputs.items())
    return f'model_warmup {{ name: "{name}" batch_size: {batch_size}\n{given}}}\n'


def parameters(**values: str) -> str:
    return "".join(
        f'parameters {{ key: "{key}" value: {{ string_value: "{text}" }} }}\n' for key, text in values.items()
    )
