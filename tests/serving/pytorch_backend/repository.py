"""The model repository of the contract tests: models that serve, and models whose load must fail and what it says."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from . import modules

WAIT = "dynamic_batching { max_queue_delay_microseconds: 500000 preferred_batch_size: [ 4 ] }\n"
SUBTRACT = """
max_batch_size: 8
input [ {{ name: "{0}" data_type: TYPE_FP32 dims: [ -1 ] }}, {{ name: "{1}" data_type: TYPE_FP32 dims: [ -1 ] }} ]
output [
  {{ name: "{2}" data_type: TYPE_FP32 dims: [ -1 ] }},
  {{ name: "{3}" data_type: TYPE_INT32 dims: [ 1 ] }},
  {{ name: "{4}" data_type: TYPE_INT32 dims: [ 1 ] }}
]
"""
ONE = """
max_batch_size: 4
input [ {{ name: "X" data_type: TYPE_{0} dims: [ 1 ] }} ]
output [ {{ name: "Y" data_type: TYPE_{0} dims: [ 1 ] }} ]
"""
TYPES = ["BOOL", "UINT8", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64"]
BATCH_INPUTS = {
    "count": ("BATCH_ELEMENT_COUNT", "FP32"),
    "accumulated": ("BATCH_ACCUMULATED_ELEMENT_COUNT", "INT32"),
    "with_zero": ("BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO", "INT32"),
    "longest": ("BATCH_MAX_ELEMENT_COUNT_AS_SHAPE", "INT32"),
    "item_shape": ("BATCH_ITEM_SHAPE", "INT32"),
    "item_shape_flat": ("BATCH_ITEM_SHAPE_FLATTEN", "FP32"),
}


@dataclass(frozen=True)
class Model:
    """One model: what it computes, its configuration without the backend, and the file it lies in."""

    module: nn.Module | None
    config: str
    backend: str = 'backend: "pytorch"'
    file_name: str = "model.pt"


def tensors(field: str, prefix: str) -> str:
    """Return one tensor of every type that can be configured."""
    names = [
        f'{{ name: "{prefix}{kind}__{place}" data_type: TYPE_{kind} dims: [ 2 ] }}' for place, kind in enumerate(TYPES)
    ]
    return f"{field} [ {', '.join(names)} ]\n"


def batch_input(name: str, kind: str, data_type: str) -> str:
    return f'batch_input {{ kind: {kind} target_name: "{name}" data_type: TYPE_{data_type} source_input: "X" }}\n'


def parameters(**values: str) -> str:
    return "".join(
        f'parameters {{ key: "{key}" value: {{ string_value: "{text}" }} }}\n' for key, text in values.items()
    )


SERVED = {
    "by_name": Model(
        modules.Subtract(), WAIT + SUBTRACT.format("subtrahend", "minuend", "DIFFERENCE", "INFERENCE", "ROWS")
    ),
    "by_index": Model(
        modules.Subtract(),
        SUBTRACT.format("b__1", "a__0", "difference__0", "rows__2", "inference__1")
        + parameters(
            INFERENCE_MODE="OFF",
            DISABLE_OPTIMIZED_EXECUTION="true",
            ENABLE_WEIGHT_SHARING="1",
            INTRA_OP_THREAD_COUNT="3",
            INTER_OP_THREAD_COUNT="2",
            ENABLE_JIT_EXECUTOR="on",
            ENABLE_JIT_PROFILING="True",
            ENABLE_TENSOR_FUSER="false",
            ENABLE_CACHE_CLEANING="true",
            DISABLE_CUDNN="0",
            A_KEY_NOBODY_KNOWS="whatever",
        ),
    ),
    "by_order": Model(
        modules.Subtract(),
        SUBTRACT.format("first", "second__0", "DIFFERENCE", "INFERENCE", "ROWS")
        + 'default_model_filename: "subtract.pt"\n',
        backend='platform: "pytorch_libtorch"',
        file_name="subtract.pt",
    ),
    "answer": Model(
        modules.Answer(),
        WAIT.replace("500000", "20000")
        + 'max_batch_size: 4\ninput [ { name: "MODE" data_type: TYPE_INT32 dims: [ 1 ] } ]\n'
        'output [ { name: "Y" data_type: TYPE_FP32 dims: [ 1 ] } ]\n',
    ),
    "count": Model(modules.Count(), ONE.format("FP32")),
    "unbatched": Model(
        modules.Unbatched(),
        'max_batch_size: 0\ninput [ { name: "X" data_type: TYPE_FP32 dims: [ -1, -1 ] },'
        ' { name: "TEXT" data_type: TYPE_STRING dims: [ -1 ] optional: true } ]\n'
        'output [ { name: "SHAPE" data_type: TYPE_INT64 dims: [ -1 ] },'
        ' { name: "LOUD" data_type: TYPE_STRING dims: [ -1 ] } ]\n',
    ),
    "text": Model(
        modules.Shout(),
        WAIT
        + 'max_batch_size: 4\ninput [ { name: "TEXT" data_type: TYPE_STRING dims: [ 1 ] reshape { shape: [ ] } } ]\n'
        'output [ { name: "LOUD" data_type: TYPE_STRING dims: [ 1 ] reshape { shape: [ ] } } ]\n',
    ),
    "types": Model(modules.Types(), "max_batch_size: 4\n" + tensors("input", "") + tensors("output", "SAME_")),
    "ragged": Model(
        modules.Ragged(),
        WAIT + 'max_batch_size: 8\ninput [ { name: "X" data_type: TYPE_FP32 dims: [ -1, 2 ] allow_ragged_batch: true },'
        ' { name: "SCALE" data_type: TYPE_FP32 dims: [ 1 ] } ]\n'
        'output [ { name: "TWICE" data_type: TYPE_FP32 dims: [ -1, 2 ] },'
        ' { name: "SCALED" data_type: TYPE_FP32 dims: [ 1 ] },'
        ' { name: "TOLD" data_type: TYPE_FP32 dims: [ 7, 10 ] } ]\n'
        'batch_output [ { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: "TWICE" source_input: "X" } ]\n'
        + "".join(batch_input(name, *facts) for name, facts in BATCH_INPUTS.items()),
    ),
}
# What each load says, and why the C++ backend refuses the same.
REFUSED = {
    "integer_does_not_parse": (Model(None, ONE.format("FP32") + parameters(INTRA_OP_THREAD_COUNT="two")), "an integer"),
    "boolean_does_not_parse": (Model(None, ONE.format("FP32") + parameters(INFERENCE_MODE="maybe")), "true, on, 1"),
    "uint16": (Model(None, ONE.format("UINT16")), "TYPE_UINT16, which the pytorch backend does not serve"),
    "uint32": (Model(None, ONE.format("UINT32")), "TYPE_UINT32, which the pytorch backend does not serve"),
    "uint64": (Model(None, ONE.format("UINT64")), "TYPE_UINT64, which the pytorch backend does not serve"),
    "bf16": (Model(None, ONE.format("BF16")), "TYPE_BF16, which the pytorch backend does not serve"),
    "text_of_two_dimensions": (Model(None, ONE.format("STRING")), "List[str] only"),
    "no_outputs": (
        Model(None, 'max_batch_size: 4\ninput [ { name: "X" data_type: TYPE_FP32 dims: [ 1 ] } ]\n'),
        "cannot complete a configuration",
    ),
    "file_is_missing": (Model(None, ONE.format("FP32")), "there is no TorchScript file"),
}


def write_repository(root: Path) -> Path:
    """Write all models under ``root`` and return it."""
    refused = {name: model for name, (model, _) in REFUSED.items()}
    for name, model in {**SERVED, **refused}.items():
        version = root / name / "1"
        version.mkdir(parents=True)
        (version.parent / "config.pbtxt").write_text(
            f"{model.backend}\ninstance_group [ {{ kind: KIND_CPU }} ]\n{model.config}"
        )
        file = version / model.file_name
        if model.module is None:
            file.write_bytes(b"nothing that torch knows")
        else:
            torch.jit.script(model.module).save(str(file))
    # A file of another name: a repository with a model that has none is not served at all.
    missing = root / "file_is_missing" / "1"
    (missing / "model.pt").rename(missing / "other.pt")
    return root
