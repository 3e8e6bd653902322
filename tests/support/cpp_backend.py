"""What Triton's C++ PyTorch backend of release 24.10 refuses in a configuration, or answers otherwise than it says.

Its own list, not the embedded backend's: both are held to it. Found by running that backend.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from tritonclient.grpc import model_config_pb2
from tritonclient.grpc.model_config_pb2 import ModelConfig

TYPES = {
    getattr(model_config_pb2, f"TYPE_{name}")
    for name in ("BOOL", "UINT8", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "STRING")
}
INTEGERS = ("INTRA_OP_THREAD_COUNT", "INTER_OP_THREAD_COUNT")
BOOLEANS = (
    "INFERENCE_MODE",
    "DISABLE_OPTIMIZED_EXECUTION",
    "ENABLE_WEIGHT_SHARING",
    "ENABLE_JIT_EXECUTOR",
    "ENABLE_JIT_PROFILING",
    "ENABLE_TENSOR_FUSER",
    "ENABLE_CACHE_CLEANING",
    "DISABLE_CUDNN",
)


def objections(config: ModelConfig) -> list[str]:
    """Return what that backend would not serve as configured; nothing for a model of another backend."""
    if config.backend != "pytorch" and config.platform != "pytorch_libtorch":
        return []
    return [*_tensors(config), *_batches(config), *_sequences(config), *_parameters(config)]


def _tensors(config: ModelConfig) -> Iterator[str]:
    if not config.input or not config.output:
        yield "there must be an input and an output"
    for tensor in (*config.input, *config.output):
        dims = tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims
        if tensor.data_type not in TYPES:
            yield f"'{tensor.name}' has a type that it does not serve"
        if tensor.data_type == model_config_pb2.TYPE_STRING and len(dims) + (config.max_batch_size > 0) > 1:
            yield f"'{tensor.name}' is text of more than one dimension"
    yield from (f"input '{tensor.name}' is optional" for tensor in config.input if tensor.optional)
    joins = config.max_batch_size > 1 and (config.HasField("dynamic_batching") or config.HasField("sequence_batching"))
    for tensor in config.output:
        if joins and tensor.data_type == model_config_pb2.TYPE_STRING:
            yield f"output '{tensor.name}' is text, and each of the joined requests gets the batch's first"
    indices = Counter(found[1] for tensor in config.input if (found := re.fullmatch(r".*?__(\d+)", tensor.name)))
    yield from (f"index {index} is several inputs'" for index, count in indices.items() if count > 1)


def _batches(config: ModelConfig) -> Iterator[str]:
    for kind, entries in (("batch_input", config.batch_input), ("batch_output", config.batch_output)):
        for entry in entries:
            if len(entry.target_name) != 1:
                yield f"a {kind} has the target names {', '.join(entry.target_name)}"
    text = {tensor.name for tensor in config.output if tensor.data_type == model_config_pb2.TYPE_STRING}
    for entry in config.batch_output:
        yield from (f"batch_output '{name}' is text" for name in entry.target_name if name in text)


def _sequences(config: ModelConfig) -> Iterator[str]:
    names = [each.name for each in config.sequence_batching.control_input]
    names += [each.output_name for each in config.sequence_batching.state]
    yield from (f"'{name}' has no index" for name in names if not re.fullmatch(r".*?__\d+", name))


def _parameters(config: ModelConfig) -> Iterator[str]:
    for key, value in config.parameters.items():
        if key in INTEGERS and not re.fullmatch(r"[+-]?\d+", value.string_value):
            yield f"{key} is no integer"
        if key in BOOLEANS and value.string_value.lower() not in {"true", "on", "1", "false", "off", "0"}:
            yield f"{key} is no boolean"
