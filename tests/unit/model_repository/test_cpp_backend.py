"""Every configuration is one that Triton's C++ PyTorch backend serves as it says, and so does the embedded one."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from cpp_backend import objections
from google.protobuf import text_format
from google.protobuf.json_format import MessageToDict
from tiny_variants import add_head, export_variants
from trident_server.backends.pytorch.configuration import ModelConfiguration
from trident_server.backends.pytorch.errors import ConfigurationError
from tritonclient.grpc.model_config_pb2 import ModelConfig

REPOSITORY = Path(__file__).resolve().parents[3] / "model_repository"
#: Those of exported variants too, where they are built, and a host's own.
FILES = sorted([*REPOSITORY.glob("*/config.pbtxt"), *REPOSITORY.glob("*/configs/*.pbtxt")])
READER = (REPOSITORY / "qa_reader" / "config.pbtxt").read_text()


def parse(text: str) -> ModelConfig:
    return text_format.Parse(text, ModelConfig())


def embedded(config: ModelConfig) -> ModelConfiguration:
    """Return what the embedded backend makes of it."""
    given = MessageToDict(config, preserving_proto_field_name=True)
    for tensor in (*given.get("input", ()), *given.get("output", ())):
        for each in (tensor, tensor.get("reshape", {})):
            for key in ("dims", "shape"):
                if key in each:
                    each[key] = [int(size) for size in each[key]]
    return ModelConfiguration.parse({"name": "m", "max_batch_size": 0} | given)


@pytest.mark.parametrize("file", FILES, ids=[str(file.relative_to(REPOSITORY)) for file in FILES])
def test_a_configuration_is_served_as_it_says_by_both_backends(file: Path) -> None:
    config = parse(file.read_text())
    assert objections(config) == []
    if config.backend == "pytorch":
        assert embedded(config).inputs


@pytest.fixture(scope="module")
def variant(tiny_checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository of a reader that was exported under a name of its own."""
    folder = tmp_path_factory.mktemp("variant")
    checkpoint = add_head(tiny_checkpoint("bert"), "qa", folder / "checkpoint")
    export_variants({"qa": checkpoint}, folder / "models", "float32")
    return folder / "models"


def test_an_exported_readers_configurations_are_served_as_they_say_by_both_backends(variant: Path) -> None:
    files = [*variant.glob("*/config.pbtxt"), *variant.glob("*/configs/*.pbtxt")]
    assert {file.name for file in files} == {"config.pbtxt", "gpu.pbtxt", "container.pbtxt"}
    for file in files:
        assert objections(parse(file.read_text())) == []
        if file.relative_to(variant).parts[0] != "qa_tiny_reader":
            continue
        made = parse(file.read_text())
        own = parse((REPOSITORY / "qa_reader" / file.relative_to(variant / "qa_tiny_reader")).read_text())
        assert embedded(made).scattered == {"START_LOGITS": "INPUT_IDS", "END_LOGITS": "INPUT_IDS"}
        assert (made.input, made.output, made.batch_input) == (own.input, own.output, own.batch_input)


def test_all_models_are_looked_at() -> None:
    assert len({file.relative_to(REPOSITORY).parts[0] for file in FILES}) >= 11
    assert {"config.pbtxt", "gpu.pbtxt", "container.pbtxt"} <= {file.name for file in FILES}


def replaced(old: str, new: str) -> str:
    assert old in READER
    return READER.replace(old, new, 1)


BROKEN = {
    "two target names of a batch output": replaced(
        'target_name: "START_LOGITS" kind', 'target_name: [ "START_LOGITS", "END_LOGITS" ] kind'
    ),
    "two target names of a batch input": replaced(
        'target_name: "ITEM_SHAPE"', 'target_name: [ "ITEM_SHAPE", "OTHER" ]'
    ),
    "an optional input": replaced("allow_ragged_batch: true", "allow_ragged_batch: true optional: true"),
    "a type that torch lacks": replaced("TYPE_INT32", "TYPE_UINT32"),
    "text where requests join": replaced(
        '"END_LOGITS" data_type: TYPE_FP32 dims: [ -1 ]',
        '"T" data_type: TYPE_STRING dims: [ 1 ] reshape { shape: [ ] }',
    ),
    "text of two dimensions": replaced("TYPE_FP32", "TYPE_STRING"),
    "letters behind an integer": READER
    + 'parameters { key: "INTRA_OP_THREAD_COUNT" value: { string_value: "2abc" } }\n',
    "a boolean of another word": READER + 'parameters { key: "DISABLE_CUDNN" value: { string_value: "maybe" } }\n',
    "a control without an index": re.sub(r"dynamic_batching \{.*?\}\n", "", READER, flags=re.DOTALL)
    + 'sequence_batching { control_input { name: "S" control { kind: CONTROL_SEQUENCE_START int32_false_true: 0 '
    "int32_false_true: 1 } } }\n",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_what_the_other_backend_would_not_serve_is_found_and_refused(text: str) -> None:
    config = parse(text)
    assert objections(config)
    with pytest.raises(ConfigurationError):
        embedded(config)
