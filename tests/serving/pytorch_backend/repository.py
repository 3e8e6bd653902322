"""The model repository of the contract tests: models that serve, and models whose load must fail and what it says."""

from pathlib import Path

import pytest
import torch

from . import modules
from .model import TYPES, Model, batch_input, parameters, sample, tensors
from .sequence_models import SEQUENCES, START, STATES, TENSORS

WAIT = "dynamic_batching { max_queue_delay_microseconds: 1500000 preferred_batch_size: [ 4 ] }\n"
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
RAGGED = 'max_batch_size: 4\ninput [ { name: "X" data_type: TYPE_FP32 dims: [ -1 ] allow_ragged_batch: true } ]\n'
ONE_OUTPUT = 'output [ { name: "Y" data_type: TYPE_FP32 dims: [ -1 ] } ]\n'
SCATTER = 'batch_output { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: "Y" source_input: "X" }\n'
CONTENTS = ("zero_data", "random_data")
BATCH_INPUTS = {
    "count": ("BATCH_ELEMENT_COUNT", "FP32"),
    "accumulated": ("BATCH_ACCUMULATED_ELEMENT_COUNT", "INT32"),
    "with_zero": ("BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO", "INT32"),
    "longest": ("BATCH_MAX_ELEMENT_COUNT_AS_SHAPE", "INT32"),
    "item_shape": ("BATCH_ITEM_SHAPE", "INT32"),
    "item_shape_flat": ("BATCH_ITEM_SHAPE_FLATTEN", "FP32"),
}


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
            DISABLE_CUDNN="1",
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
        WAIT.replace("1500000", "20000")
        + 'max_batch_size: 4\ninput [ { name: "MODE" data_type: TYPE_INT32 dims: [ 1 ] } ]\n'
        'output [ { name: "Y" data_type: TYPE_FP32 dims: [ 1 ] } ]\n',
    ),
    "count": Model(modules.Count(), ONE.format("FP32")),
    "unbatched": Model(
        modules.Unbatched(),
        'max_batch_size: 0\ninput [ { name: "X" data_type: TYPE_FP32 dims: [ -1, -1 ] },'
        ' { name: "TEXT" data_type: TYPE_STRING dims: [ -1 ] } ]\n'
        'output [ { name: "SHAPE" data_type: TYPE_INT64 dims: [ -1 ] },'
        ' { name: "LOUD" data_type: TYPE_STRING dims: [ -1 ] } ]\n',
    ),
    "text": Model(
        modules.Shout(),
        'max_batch_size: 4\ninput [ { name: "TEXT" data_type: TYPE_STRING dims: [ 1 ] reshape { shape: [ ] } } ]\n'
        'output [ { name: "LOUD" data_type: TYPE_STRING dims: [ 1 ] reshape { shape: [ ] } } ]\n'
        + sample("zero text", 1, TEXT="data_type: TYPE_STRING dims: [ 1 ] zero_data: true")
        + sample("random text", 4, TEXT="data_type: TYPE_STRING dims: [ 1 ] random_data: true")
        + sample("text of a file", 1, TEXT='data_type: TYPE_STRING dims: [ 1 ] input_data_file: "text"'),
        files={"warmup/text": b"\x03\0\0\0" + b"233"},
    ),
    "dictionary": Model(
        modules.Dictionary(),
        WAIT
        + """
max_batch_size: 8
input [
  { name: "subtrahend" data_type: TYPE_FP32 dims: [ -1 ] },
  { name: "minuend" data_type: TYPE_FP32 dims: [ -1 ] }
]
output [ { name: "DIFFERENCE" data_type: TYPE_FP32 dims: [ -1 ] } ]
""",
    ),
    "shared": Model(modules.Pair(), ONE.format("FP32") + parameters(ENABLE_WEIGHT_SHARING="true"), instances=2),
    **SEQUENCES,
    "types": Model(
        modules.Types(),
        "max_batch_size: 4\n"
        + tensors("input", "")
        + tensors("output", "SAME_")
        + sample(
            "zeros and random numbers",
            4,
            **{
                f"{kind}__{place}": f"data_type: TYPE_{kind} dims: [ 2 ] {CONTENTS[place % 2]}: true"
                for place, kind in enumerate(TYPES)
            },
        ),
    ),
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
    "lacks_one": Model(modules.LacksOne(), RAGGED + ONE_OUTPUT + SCATTER),
}
PAIR = 'output [ { name: "Y" data_type: TYPE_FP32 dims: [ -1 ] }, { name: "Z" data_type: TYPE_FP32 dims: [ -1 ] } ]\n'
TEXT = (
    'input [ { name: "X" data_type: TYPE_FP32 dims: [ 1 ] } ]\noutput [ { name: "T" data_type: TYPE_STRING dims: [ 1 ]'
)
# What each load says. The C++ backend refuses the same, or would answer wrongly: the comment before it says which.
REFUSED = {
    # Every output of the entry would be answered under the first name, the second not at all.
    "batch_output_of_two_names": (
        Model(
            modules.Pair(),
            RAGGED + PAIR + "batch_output { kind: BATCH_SCATTER_WITH_INPUT_SHAPE "
            'target_name: [ "Y", "Z" ] source_input: "X" }\n',
        ),
        "under the first name",
    ),
    # Refused: it counts entries.
    "batch_input_of_two_names": (
        Model(
            modules.Both(),
            RAGGED + ONE_OUTPUT + "batch_input { kind: BATCH_ITEM_SHAPE "
            'target_name: [ "b", "c" ] data_type: TYPE_INT32 source_input: "X" }\n',
        ),
        "a batch_input has the target names b, c: the C++ backend counts an entry as one input",
    ),
    # Refused.
    "optional_input": (
        Model(modules.Shout(), ONE.format("FP32").replace("dims: [ 1 ] }", "dims: [ 1 ] optional: true }", 1)),
        "'optional' is set to true for input 'X' while the backend model doesn't support optional input",
    ),
    # Each of the joined requests would be given the first texts of the batch.
    "text_of_joined_requests": (
        Model(None, WAIT + "max_batch_size: 4\n" + TEXT + " reshape { shape: [ ] } } ]\n"),
        "the first texts of the batch",
    ),
    # Loaded, and every request answered with 500.
    "two_inputs_of_one_index": (
        Model(modules.Subtract(), SUBTRACT.format("a__0", "b__0", "D", "I", "R")),
        "do not fill the arguments of forward",
    ),
    "index_too_high": (
        Model(modules.Subtract(), SUBTRACT.format("a__0", "b__2", "D", "I", "R")),
        "do not fill the arguments of forward",
    ),
    "batch_input_of_unknown_name": (
        Model(
            modules.Both(),
            RAGGED.replace('"X"', '"a"')
            + ONE_OUTPUT
            + batch_input("b", "BATCH_ITEM_SHAPE", "INT32").replace('"X"', '"a"')
            + batch_input("d", "BATCH_ITEM_SHAPE", "INT32").replace('"X"', '"a"'),
        ),
        "do not fill the arguments of forward",
    ),
    # Refused.
    "fewer_inputs_than_arguments": (
        Model(modules.Subtract(), ONE.format("FP32")),
        "unable to load model 'fewer_inputs_than_arguments', configuration expects 1 inputs, model provides 2",
    ),
    # Taken as 2.
    "integer_with_letters_behind": (
        Model(None, ONE.format("FP32") + parameters(INTRA_OP_THREAD_COUNT="2abc")),
        "got '2abc', of which the C++ backend would take the digits in front",
    ),
    # Refused, as all that follow.
    "control_without_an_index": (
        Model(
            None,
            TENSORS.format(1, 1) + f"sequence_batching {{ control_input {START.replace('START__1', 'START')} }}\n",
        ),
        "input 'START' does not follow <name>__<index> naming convention.",
    ),
    "integer_does_not_parse": (Model(None, ONE.format("FP32") + parameters(INTRA_OP_THREAD_COUNT="two")), "an integer"),
    "boolean_does_not_parse": (Model(None, ONE.format("FP32") + parameters(INFERENCE_MODE="maybe")), "true, on, 1"),
    "uint16": (Model(None, ONE.format("UINT16")), "unsupported datatype TYPE_UINT16 for input 'X' for model 'uint16'"),
    "uint32": (Model(None, ONE.format("UINT32")), "unsupported datatype TYPE_UINT32 for input 'X' for model 'uint32'"),
    "uint64": (Model(None, ONE.format("UINT64")), "unsupported datatype TYPE_UINT64 for input 'X' for model 'uint64'"),
    "bf16": (Model(None, ONE.format("BF16")), "unsupported datatype TYPE_BF16 for input 'X' for model 'bf16'"),
    "output_of_uint16": (
        Model(None, RAGGED + ONE_OUTPUT.replace("FP32", "UINT16")),
        "unsupported datatype TYPE_UINT16 for output 'Y' for model 'output_of_uint16'",
    ),
    "text_of_two_dimensions": (
        Model(None, ONE.format("STRING")),
        "Triton only supports 1 dimensional List of String as input for 'X'",
    ),
    "no_outputs": (
        Model(None, 'max_batch_size: 4\ninput [ { name: "X" data_type: TYPE_FP32 dims: [ 1 ] } ]\n'),
        "model configuration must contain at least one output, none were specified.",
    ),
    "file_is_missing": (Model(None, ONE.format("FP32")), "unable to find"),
}
# The same lines bind, call, answer and refuse in either kind of process, and each of these loads torch by itself. Those
# that have one show what differs: how requests, texts, types, errors and controls go there and back.
SERVED_ISOLATED = (
    *("by_name", "by_index", "by_order", "answer", "unbatched"),
    *("text", "shared", "running", "types", "ragged"),
)
# One of each is seen to reach Triton from there: what a configuration, a parameter, the arguments of `forward`, and a
# file are refused for.
REFUSED_ISOLATED = ("uint16", "integer_does_not_parse", "two_inputs_of_one_index", "file_is_missing")


#: Marks a test of models that only Triton's own process serves.
IN_PROCESS = pytest.mark.parametrize("isolated", [False], ids=["in-process"], indirect=True, scope="package")


def served(isolated: bool) -> dict[str, Model]:
    """Return what is served; of :data:`SERVED` some where each model has a process that loads torch."""
    return {name: SERVED[name] for name in SERVED_ISOLATED} if isolated else SERVED | STATES


def refused(isolated: bool) -> dict[str, tuple[Model, str]]:
    """Return what is to fail its load; of :data:`REFUSED` some where each model has a process that loads torch."""
    return {name: REFUSED[name] for name in REFUSED_ISOLATED} if isolated else REFUSED


def write_repository(root: Path, isolated: bool) -> Path:
    """Write all models under ``root`` and return it."""
    failing = {name: model for name, (model, _) in refused(isolated).items()}
    # A state fails its load where the process is not Triton's.
    states = {"kept": STATES["kept"]} if isolated else {}
    for name, model in {**served(isolated), **states, **failing}.items():
        version = root / name / "1"
        version.mkdir(parents=True)
        (version.parent / "config.pbtxt").write_text(
            f"{model.backend}\ninstance_group [ {{ kind: KIND_CPU count: {model.instances} }} ]\n{model.config}"
        )
        file = version / model.file_name
        if model.module is None:
            file.write_bytes(b"nothing that torch knows")
        else:
            torch.jit.script(model.module).save(str(file))
        for path, content in model.files.items():
            (version.parent / path).parent.mkdir(exist_ok=True)
            (version.parent / path).write_bytes(content)
    # A file of another name: a repository with a model that has none is not served at all.
    missing = root / "file_is_missing" / "1"
    (missing / "model.pt").rename(missing / "other.pt")
    return root
