"""The pytorch backend's contract, sentence by sentence, in a real Triton with small TorchScript models made here."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import tritonclient.grpc as triton_grpc
from torch import Tensor, nn
from trident_server.ports import free_ports
from trident_server.process import TritonProcess
from tritonclient.utils import InferenceServerException

pytestmark = pytest.mark.serving


class Subtract(nn.Module):
    """Not commutative, so that swapped arguments show; the second output tells of inference mode."""

    def forward(self, minuend: Tensor, subtrahend: Tensor) -> tuple[Tensor, Tensor]:
        difference = minuend - subtrahend
        return difference, torch.full_like(difference, 1.0 if difference.is_inference() else 0.0)


class Misbehave(nn.Module):
    def forward(self, MODE: Tensor) -> Tensor:  # noqa: N803
        mode = int(MODE[0, 0].item())
        if mode == 1:
            return torch.tensor(1.0)
        if mode == 2:
            return MODE.to(torch.float64)
        if mode == 3:
            return torch.zeros([0, 1])
        if mode == 4:
            raise ValueError("mode four")
        return MODE.to(torch.float32)


class Shout(nn.Module):
    def forward(self, TEXT: list[str]) -> list[str]:  # noqa: N803
        return [text.upper() for text in TEXT]


class AnswersDict(nn.Module):
    def forward(self, X: Tensor) -> dict[str, Tensor]:  # noqa: N803
        return {"Y": X}


class AnswersNested(nn.Module):
    def forward(self, X: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:  # noqa: N803
        return X, (X, X)


class Shape(nn.Module):
    def forward(self, X: Tensor) -> Tensor:  # noqa: N803
        return torch.tensor(X.size(), dtype=torch.int64)


class Ragged(nn.Module):
    """Answers with what every batch input held, one row a request."""

    def forward(
        self,
        X: Tensor,  # noqa: N803
        count: Tensor,
        accumulated: Tensor,
        with_zero: Tensor,
        longest: Tensor,
        item_shape: Tensor,
        item_shape_flat: Tensor,
    ) -> tuple[Tensor, Tensor]:
        assert X.dim() == 1
        rows = item_shape.size(0)
        facts = [
            count.view(rows, 1),
            accumulated.view(rows, 1),
            with_zero[:-1].view(rows, 1),
            with_zero[1:].view(rows, 1),
            torch.full([rows, 1], longest.size(0), dtype=torch.int32),
            item_shape,
            item_shape_flat.view(rows, -1),
        ]
        return X * 2, torch.cat(facts, dim=1)


@dataclass(frozen=True)
class Model:
    module: nn.Module | None
    config: str


PAIR = """
input [ {{ name: "{0}" data_type: TYPE_FP32 dims: [ -1 ] }}, {{ name: "{1}" data_type: TYPE_FP32 dims: [ -1 ] }} ]
output [ {{ name: "{2}" data_type: TYPE_FP32 dims: [ -1 ] }}, {{ name: "{3}" data_type: TYPE_FP32 dims: [ -1 ] }} ]
"""
ONE = """
max_batch_size: 4
input [ {{ name: "X" data_type: TYPE_{0} dims: [ 1 ] }} ]
output [ {{ name: "Y" data_type: TYPE_{0} dims: [ 1 ] }} ]
"""


def parameter(key: str, value: str) -> str:
    return f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}\n'


GOOD = {
    "by_name": Model(
        Subtract(),
        "max_batch_size: 8\ndynamic_batching { max_queue_delay_microseconds: 300000 preferred_batch_size: [ 8 ] }\n"
        + PAIR.format("subtrahend", "minuend", "DIFFERENCE", "MODE"),
    ),
    "by_index": Model(
        Subtract(),
        "max_batch_size: 8\n"
        + PAIR.format("b__1", "a__0", "mode__1", "difference__0")
        + parameter("DISABLE_OPTIMIZED_EXECUTION", "true")
        + parameter("ENABLE_WEIGHT_SHARING", "true")
        + parameter("INTRA_OP_THREAD_COUNT", "1")
        + parameter("INTER_OP_THREAD_COUNT", "1")
        + parameter("ENABLE_JIT_EXECUTOR", "true")
        + parameter("ENABLE_JIT_PROFILING", "true")
        + parameter("ENABLE_TENSOR_FUSER", "false")
        + parameter("ENABLE_CACHE_CLEANING", "true")
        + parameter("DISABLE_CUDNN", "true")
        + parameter("A_KEY_NOBODY_KNOWS", "whatever"),
    ),
    "by_order": Model(
        Subtract(),
        "max_batch_size: 8\n"
        + PAIR.format("first", "second", "DIFFERENCE", "MODE")
        + parameter("INFERENCE_MODE", "false"),
    ),
    "misbehave": Model(
        Misbehave(),
        'max_batch_size: 4\ninput [ { name: "MODE" data_type: TYPE_INT32 dims: [ 1 ] } ]\n'
        'output [ { name: "Y" data_type: TYPE_FP32 dims: [ 1 ] } ]\n',
    ),
    "shout": Model(
        Shout(),
        'max_batch_size: 4\ninput [ { name: "TEXT" data_type: TYPE_STRING dims: [ 1 ] } ]\n'
        'output [ { name: "LOUD" data_type: TYPE_STRING dims: [ 1 ] } ]\n',
    ),
    "answers_dict": Model(AnswersDict(), ONE.format("FP32")),
    "answers_nested": Model(AnswersNested(), ONE.format("FP32")),
    "unbatched": Model(
        Shape(),
        'max_batch_size: 0\ninput [ { name: "X" data_type: TYPE_FP32 dims: [ -1, -1 ] } ]\n'
        'output [ { name: "Y" data_type: TYPE_INT64 dims: [ -1 ] } ]\n',
    ),
    "ragged": Model(
        Ragged(),
        "max_batch_size: 8\ndynamic_batching { max_queue_delay_microseconds: 300000 preferred_batch_size: [ 3 ] }\n"
        'input [ { name: "X" data_type: TYPE_FP32 dims: [ -1 ] allow_ragged_batch: true } ]\n'
        'output [ { name: "TWICE" data_type: TYPE_FP32 dims: [ -1 ] },'
        ' { name: "FACTS" data_type: TYPE_INT32 dims: [ 7 ] } ]\n'
        'batch_output [ { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: "TWICE" source_input: "X" } ]\n'
        + "".join(
            f'batch_input {{ kind: {kind} target_name: "{name}" data_type: TYPE_INT32 source_input: "X" }}\n'
            for kind, name in [
                ("BATCH_ELEMENT_COUNT", "count"),
                ("BATCH_ACCUMULATED_ELEMENT_COUNT", "accumulated"),
                ("BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO", "with_zero"),
                ("BATCH_MAX_ELEMENT_COUNT_AS_SHAPE", "longest"),
                ("BATCH_ITEM_SHAPE", "item_shape"),
                ("BATCH_ITEM_SHAPE_FLATTEN", "item_shape_flat"),
            ]
        ),
    ),
}
BAD = {
    "bad_number": (Model(AnswersDict(), ONE.format("FP32") + parameter("INTRA_OP_THREAD_COUNT", "two")), "an integer"),
    "bad_boolean": (Model(AnswersDict(), ONE.format("FP32") + parameter("INFERENCE_MODE", "maybe")), "true or false"),
    "uint16": (Model(AnswersDict(), ONE.format("UINT16")), "TYPE_UINT16"),
    "bf16": (Model(AnswersDict(), ONE.format("BF16")), "TYPE_BF16"),
    "no_outputs": (
        Model(AnswersDict(), 'max_batch_size: 4\ninput [ { name: "X" data_type: TYPE_FP32 dims: [ 1 ] } ]\n'),
        "cannot complete a configuration",
    ),
    "too_many_inputs": (
        Model(AnswersDict(), "max_batch_size: 4\n" + PAIR.format("P", "Q", "Y", "Z")),
        "do not fill the arguments",
    ),
    "no_file": (
        Model(None, ONE.format("FP32") + "version_policy { specific { versions: [ 1 ] } }"),
        "no TorchScript file",
    ),
}


def write_repository(root: Path) -> Path:
    for name, model in [*GOOD.items(), *((name, model) for name, (model, _) in BAD.items())]:
        (root / name / "1").mkdir(parents=True)
        (root / name / "config.pbtxt").write_text(
            f'backend: "pytorch"\ninstance_group [ {{ kind: KIND_CPU }} ]\n{model.config}'
        )
        if model.module is not None:
            torch.jit.script(model.module).save(str(root / name / "1" / "model.pt"))
    # TritonProcess refuses a repository with an unbuilt model; version 2 is loaded by nobody, but it is a file.
    (root / "no_file" / "2").mkdir()
    (root / "no_file" / "2" / "model.pt").write_bytes(b"")
    return root


@pytest.fixture(scope="module")
def triton(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pytorch_backend")
    repository = write_repository(folder / "models")
    http, grpc, metrics = free_ports(3)
    with TritonProcess(
        repository=repository,
        http_port=http,
        grpc_port=grpc,
        metrics_port=metrics,
        cache_dir=folder / "cache",
        log_file=folder / "triton.log",
        ready_timeout=240,
        extra_args=["--model-control-mode=explicit", *(f"--load-model={name}" for name in GOOD)],
    ) as process:
        yield process


@pytest.fixture(scope="module")
def client(triton):
    with triton_grpc.InferenceServerClient(triton.grpc_url) as client:
        yield client


def infer(client, model: str, outputs: list[str], **inputs) -> list[np.ndarray]:
    types = {"float32": "FP32", "int32": "INT32", "object": "BYTES"}
    tensors = []
    for name, array in inputs.items():
        tensors.append(triton_grpc.InferInput(name, list(array.shape), types[array.dtype.name]))
        tensors[-1].set_data_from_numpy(array)
    wanted = [triton_grpc.InferRequestedOutput(name) for name in outputs]
    result = client.infer(model, tensors, outputs=wanted, client_timeout=60)
    return [result.as_numpy(name) for name in outputs]


def row(*values: float) -> np.ndarray:
    return np.array([values], dtype=np.float32)


def executions(client, model: str) -> int:
    return client.get_inference_statistics(model).model_stats[0].execution_count


def test_inputs_bind_by_argument_name(client):
    (difference,) = infer(client, "by_name", ["DIFFERENCE"], subtrahend=row(1, 2), minuend=row(10, 20))
    assert difference.tolist() == [[9, 18]]


def test_inputs_and_outputs_bind_by_index(client):
    difference, mode = infer(client, "by_index", ["difference__0", "mode__1"], b__1=row(1), a__0=row(10))
    assert difference.tolist() == [[9]]
    assert mode.tolist() == [[1]]


def test_inputs_bind_in_configuration_order(client):
    (difference,) = infer(client, "by_order", ["DIFFERENCE"], second=row(1), first=row(10))
    assert difference.tolist() == [[9]]


def test_inference_mode_is_on_by_default_and_can_be_switched_off(client):
    assert infer(client, "by_name", ["MODE"], subtrahend=row(1), minuend=row(1))[0].tolist() == [[1]]
    assert infer(client, "by_order", ["MODE"], first=row(1), second=row(1))[0].tolist() == [[0]]


def test_text_goes_in_and_out_as_a_list_of_str(client):
    text = np.array([["straße".encode()], ["고양이 a\0b".encode()]], dtype=np.object_)
    (loud,) = infer(client, "shout", ["LOUD"], TEXT=text)
    assert [each.decode() for each in loud[:, 0]] == ["STRAßE", "고양이 A\0B"]


@pytest.mark.parametrize("model", ["answers_dict", "answers_nested"])
def test_a_dict_or_nested_tuple_is_an_internal_error(client, model):
    with pytest.raises(InferenceServerException, match="flat tuple") as caught:
        infer(client, model, ["Y"], X=row(1))
    assert caught.value.status() == "StatusCode.INTERNAL"


@pytest.mark.parametrize(
    ("mode", "status", "says"),
    [
        (1, "INVALID_ARGUMENT", "is a scalar"),
        (2, "INVALID_ARGUMENT", "configured TYPE_FP32, but forward returned torch.float64"),
        (3, "INTERNAL", "shorter than the batch"),
        (4, "INTERNAL", "mode four"),
    ],
    ids=["scalar output", "wrong dtype", "short first dimension", "exception"],
)
def test_a_failed_batch_is_an_error_and_the_server_lives_on(client, mode, status, says):
    with pytest.raises(InferenceServerException, match=says) as caught:
        infer(client, "misbehave", ["Y"], MODE=np.array([[mode]], dtype=np.int32))
    assert caught.value.status() == f"StatusCode.{status}"
    assert infer(client, "misbehave", ["Y"], MODE=np.array([[0]], dtype=np.int32))[0].tolist() == [[0]]


def test_dynamic_batching_joins_requests_on_the_batch_dimension(client):
    before = executions(client, "by_name")
    with ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(
                lambda n: infer(client, "by_name", ["DIFFERENCE"], subtrahend=row(n), minuend=row(10 * n))[0], range(4)
            )
        )
    assert [answer.tolist() for answer in answers] == [[[9 * n]] for n in range(4)]
    assert executions(client, "by_name") - before < 4


def test_without_dynamic_batching_each_request_runs_alone(client):
    before = executions(client, "by_order")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: infer(client, "by_order", ["DIFFERENCE"], first=row(n), second=row(n)), range(4)))
    assert executions(client, "by_order") - before == 4


def test_without_max_batch_size_shapes_are_passed_as_they_are(client):
    (shape,) = infer(client, "unbatched", ["Y"], X=np.zeros((3, 5), dtype=np.float32))
    assert shape.tolist() == [3, 5]


def test_ragged_inputs_are_flattened_described_and_scattered_back(client):
    before = executions(client, "ragged")
    lengths = [2, 5, 3]
    arrays = [np.arange(length, dtype=np.float32).reshape(1, -1) + 10 * length for length in lengths]
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda array: infer(client, "ragged", ["TWICE", "FACTS"], X=array), arrays))
    assert executions(client, "ragged") - before == 1
    for array, (twice, _) in zip(arrays, answers, strict=True):
        assert twice.tolist() == (array * 2).tolist()
    # Requests joined in the order they came, which threads do not fix; the running sums tell it.
    facts = sorted((answer[1][0].tolist() for answer in answers), key=lambda each: each[1])
    total = 0
    for count, accumulated, before_it, up_to_it, longest, item, item_flat in facts:
        assert (before_it, longest) == (total, 5)
        total += count
        assert (accumulated, up_to_it, item, item_flat) == (total, total, count, count)
    assert total == sum(lengths)


def test_item_shapes_have_a_row_for_each_item_of_a_request(client):
    with pytest.raises(InferenceServerException):
        # Two items in one request: one element count, two item shapes; this model's rows no longer fit together.
        infer(client, "ragged", ["FACTS"], X=np.zeros((2, 3), dtype=np.float32))
    assert infer(client, "ragged", ["TWICE"], X=row(1, 2))[0].tolist() == [[2, 4]]


@pytest.mark.parametrize(("name", "says"), [(name, says) for name, (_, says) in BAD.items()])
def test_a_model_that_cannot_be_served_fails_its_load_and_says_why(client, name, says):
    with pytest.raises(InferenceServerException, match=says):
        client.load_model(name)
    assert client.is_server_live()
