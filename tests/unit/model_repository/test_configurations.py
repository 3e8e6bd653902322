"""The repository is valid as it stands, on either PyTorch backend, with nothing of the project at hand."""

import ast
import itertools
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import text_format
from tokenizers import Tokenizer
from trident_client import contract
from tritonclient.grpc import model_config_pb2

REPOSITORY = Path(__file__).resolve().parents[3] / "model_repository"
FOLDERS = sorted(file.parent for file in REPOSITORY.glob("*/config.pbtxt"))
PYTHON_MODELS = sorted(REPOSITORY.glob("*/1/*.py"))
#: Built by `make models`, which `make test` runs first.
NETWORKS = sorted(REPOSITORY.glob("*/1/model.pt"))
#: Served in place of config.pbtxt where Triton is started with --model-config-name=gpu; a host may have its own, too.
NAMED = sorted(REPOSITORY.glob("*/configs/gpu.pbtxt"))
#: The backends of NVIDIA's image (release 24.10, /opt/tritonserver/backends) that are for models as these.
CONTAINER_BACKENDS = {"pytorch", "python"}
#: What NVIDIA's container has, or its image adds with one pip command.
CONTAINER_PACKAGES = {"numpy", "tokenizers", "triton_python_backend_utils"}
#: What the C++ PyTorch backend of release 24.10 reads.
PYTORCH_PARAMETERS = {
    "INFERENCE_MODE",
    "DISABLE_OPTIMIZED_EXECUTION",
    "ENABLE_WEIGHT_SHARING",
    "INTRA_OP_THREAD_COUNT",
    "INTER_OP_THREAD_COUNT",
    "ENABLE_JIT_EXECUTOR",
    "ENABLE_JIT_PROFILING",
    "ENABLE_TENSOR_FUSER",
    "ENABLE_CACHE_CLEANING",
    "DISABLE_CUDNN",
}


def parse(file: Path) -> model_config_pb2.ModelConfig:
    return text_format.Parse(file.read_text(), model_config_pb2.ModelConfig())


def configuration(folder: Path) -> model_config_pb2.ModelConfig:
    return parse(folder / "config.pbtxt")


def named(folders: list[Path]) -> list[str]:
    return [folder.name for folder in folders]


CONFIGURATIONS = {folder.name: configuration(folder) for folder in FOLDERS}


def test_the_similarity_models_are_all_there() -> None:
    assert {"sts", "sts_embedding", "sts_tokenizer", "sts_encoder"} <= set(CONFIGURATIONS)


def test_the_question_answering_models_are_all_there() -> None:
    assert {"qa", "qa_tokenizer", "qa_reader", "qa_span_decoder"} <= set(CONFIGURATIONS)


@pytest.mark.parametrize("folder", FOLDERS, ids=named(FOLDERS))
def test_every_model_batches_and_has_its_version_folder(folder: Path) -> None:
    config = CONFIGURATIONS[folder.name]
    # Questions have as many answers as they have; they are asked one a request, and join inside.
    one_a_request = re.sub("_(ko|small)", "", folder.name) in {"qa", "qa_span_decoder"}
    assert config.max_batch_size == (1 if one_a_request else contract.MAX_BATCH)
    # Object storage, and some ways into an image, know no empty folder.
    assert [file for file in (folder / "1").iterdir() if file.is_file()]
    # An ensemble is scheduled as one; its steps batch.
    if not one_a_request:
        assert config.HasField("ensemble_scheduling") != config.HasField("dynamic_batching")
    assert not config.name, "a name in config.pbtxt would break the folder's copies under other names"


@pytest.mark.parametrize(("name", "most"), [("qa", 65_536), ("qa_ko", 131_072), ("qa_small", 262_144)])
def test_each_reader_takes_as_many_tokens_as_its_encoder_reads_in_time(name: str, most: int) -> None:
    told = CONFIGURATIONS[f"{name}_tokenizer"].parameters["most_window_tokens"].string_value
    assert told == str(most)


@pytest.mark.parametrize(
    "file", sorted(REPOSITORY.glob("*_tokenizer/1/tokenizer.json")), ids=lambda file: file.parts[-3]
)
def test_a_tokenizer_says_how_many_token_ids_it_has(file: Path) -> None:
    said = CONFIGURATIONS[file.parts[-3]].parameters["vocabulary"].string_value
    assert int(said) == Tokenizer.from_file(str(file)).get_vocab_size()


def test_no_queue_has_timeouts() -> None:
    # With one, Triton 24.10 prepares no batch while another is computed, and wakes up half a second late: of four lists
    # of 64 texts that came together, the last one was answered after 580 ms in place of 120.
    queues = {name: each.dynamic_batching for name, each in CONFIGURATIONS.items() if each.HasField("dynamic_batching")}
    assert {"sts_tokenizer", "sts_encoder", "qa_reader"} <= set(queues)
    assert [name for name, each in queues.items() if each.HasField("default_queue_policy")] == []
    assert [name for name, each in queues.items() if each.priority_queue_policy] == []


@pytest.mark.parametrize("folder", FOLDERS, ids=named(FOLDERS))
def test_every_model_is_an_ensemble_or_names_a_backend_that_the_container_has(folder: Path) -> None:
    config = CONFIGURATIONS[folder.name]
    if config.HasField("ensemble_scheduling"):
        assert (config.platform, config.backend) == ("ensemble", "")
    else:
        assert config.backend in CONTAINER_BACKENDS
        # The file that the backend looks for, none configured.
        assert not config.default_model_filename
        assert config.backend == "pytorch" or (folder / "1" / "model.py").is_file()


def test_every_network_has_a_configuration_for_the_gpu() -> None:
    networks = {name for name, config in CONFIGURATIONS.items() if config.backend == "pytorch"}
    assert {file.parents[1].name for file in NAMED if file.stem == "gpu"} == networks


@pytest.mark.parametrize("file", NAMED, ids=[f"{file.parents[1].name}/{file.stem}" for file in NAMED])
def test_the_configuration_for_the_gpu_differs_in_the_instances_place_alone(file: Path) -> None:
    gpu, cpu = parse(file), parse(file.parents[1] / "config.pbtxt")
    kinds = model_config_pb2.ModelInstanceGroup
    assert [(each.kind, each.count) for each in gpu.instance_group] == [(kinds.KIND_GPU, 1)]
    assert [each.kind for each in cpu.instance_group] == [kinds.KIND_CPU]
    for each in (gpu, cpu):
        each.ClearField("instance_group")
    assert gpu == cpu


def test_the_containers_reader_has_a_second_instance_that_shares_the_weights_and_differs_in_nothing_else() -> None:
    (file,) = [each for each in REPOSITORY.glob("*/configs/container.pbtxt") if each.parents[1].name == "qa_reader"]
    container, ours = parse(file), parse(file.parents[1] / "config.pbtxt")
    assert [(each.kind, each.count) for each in container.instance_group] == [
        (model_config_pb2.ModelInstanceGroup.KIND_CPU, 2)
    ]
    assert container.parameters["ENABLE_WEIGHT_SHARING"].string_value == "true"
    del container.parameters["ENABLE_WEIGHT_SHARING"]
    for each in (container, ours):
        each.ClearField("instance_group")
    assert container == ours


@pytest.mark.parametrize("folder", FOLDERS, ids=named(FOLDERS))
def test_pytorch_models_use_only_what_the_c_plus_plus_backend_knows(folder: Path) -> None:
    config = CONFIGURATIONS[folder.name]
    if config.backend == "pytorch":
        assert set(config.parameters) <= PYTORCH_PARAMETERS
        assert not (folder / "1" / "model.py").exists()
        ragged = {each.name for each in config.input if each.allow_ragged_batch}
        assert {name for each in config.batch_input for name in each.source_input} <= ragged


LOAD = """
import json, sys, torch
names = {}
for file in sys.argv[1:]:
    names[file] = [each.name for each in torch.jit.load(file).forward.schema.arguments][1:]
assert not any(name.startswith(("trident", "transformers")) for name in sys.modules)
print(json.dumps(names))
"""


@pytest.fixture(scope="module")
def arguments() -> dict[str, list[str]]:
    """Names of what each built network is called with, by its file: read where nothing but torch is loaded."""
    command = [sys.executable, "-I", "-c", LOAD, *map(str, NETWORKS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("file", NETWORKS, ids=[file.parents[1].name for file in NETWORKS])
def test_built_networks_load_with_torch_alone_and_are_called_by_their_configured_names(
    file: Path, arguments: dict[str, list[str]]
) -> None:
    config = CONFIGURATIONS[file.parents[1].name]
    names = [each.name for each in config.input] + [name for each in config.batch_input for name in each.target_name]
    assert sorted(arguments[str(file)]) == sorted(names)


@pytest.mark.parametrize("folder", FOLDERS, ids=named(FOLDERS))
def test_ensemble_steps_connect_tensors_of_one_type(folder: Path) -> None:
    config = CONFIGURATIONS[folder.name]
    types = {each.name: each.data_type for each in config.input}
    for step in config.ensemble_scheduling.step:
        model = CONFIGURATIONS[step.model_name]
        inputs = {each.name for each in model.input if not each.optional}
        outputs = {each.name: each.data_type for each in model.output}
        assert inputs <= set(step.input_map) <= {each.name for each in model.input}
        for name, tensor in step.output_map.items():
            types[tensor] = outputs[name]
    for step in config.ensemble_scheduling.step:
        for name, tensor in step.input_map.items():
            expected = next(each.data_type for each in CONFIGURATIONS[step.model_name].input if each.name == name)
            assert types[tensor] == expected
    for output in config.output:
        if config.HasField("ensemble_scheduling"):
            assert types[output.name] == output.data_type


@pytest.mark.parametrize("folder", FOLDERS, ids=named(FOLDERS))
def test_warm_up_data_is_there_and_of_its_type(folder: Path) -> None:
    config = CONFIGURATIONS[folder.name]
    assert config.model_warmup or config.HasField("ensemble_scheduling")
    for sample in config.model_warmup:
        for tensor in sample.inputs.values():
            if tensor.input_data_file:
                data = (folder / "warmup" / tensor.input_data_file).read_bytes()
                if tensor.data_type == model_config_pb2.TYPE_INT32:
                    assert len(data) == 4 * math.prod(tensor.dims)
                    continue
                assert int.from_bytes(data[:4], "little") == len(data) - 4
                assert data[4:].decode().strip()


@pytest.mark.parametrize("file", PYTHON_MODELS, ids=[f"{file.parents[1].name}/{file.stem}" for file in PYTHON_MODELS])
def test_python_models_import_only_what_the_container_has(file: Path) -> None:
    # Release 24.10 has Python 3.10.
    tree = ast.parse(file.read_text(), feature_version=(3, 10))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    packages = {name.partition(".")[0] for name in imported}
    beside = {other.stem for other in file.parent.glob("*.py")}
    assert packages <= CONTAINER_PACKAGES | (sys.stdlib_module_names - {"tomllib"}) | beside


def test_models_of_one_kind_are_copies_of_each_other() -> None:
    # Triton wants a model.py in every folder, and a link may not survive the way into an image or an object store.
    sources = {
        file.read_text() for file in PYTHON_MODELS if re.fullmatch(r"(sts|cola)\w*_tokenizer", file.parents[1].name)
    }
    assert len(sources) == 1, "the */1/model.py of the tokenizers differ"


def test_no_ensemble_has_steps_side_by_side() -> None:
    # Triton 24.10 hangs or dies when such steps fail, or are cancelled, at the same time.
    for config in CONFIGURATIONS.values():
        for before, step in itertools.pairwise(config.ensemble_scheduling.step):
            waits_for = set(before.output_map.values()) & set(step.input_map.values())
            assert waits_for, f"{config.name}: {step.model_name} does not wait for {before.model_name}"
