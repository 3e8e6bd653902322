import numpy as np
import pytest
import torch
from torch import Tensor, nn
from trident_server.backends.pytorch.errors import AnswerError, ConfigurationError, OutputError
from trident_server.backends.pytorch.parameters import Parameters
from trident_server.backends.pytorch.tensors import Tensor as Output
from trident_server.backends.pytorch.torchscript import TorchScriptModule, flatten, to_numpy

FLOAT = Output("Y", "TYPE_FP32", (-1,))
TEXT = Output("Y", "TYPE_STRING", (-1,))


class Sum(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        total = a + b
        return total, torch.full([1], int(total.is_inference()), dtype=torch.int64)


class Dropout(nn.Module):
    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout(1.0)

    def forward(self, a: Tensor) -> Tensor:
        return self.dropout(a)


class TakesOptional(nn.Module):
    def forward(self, a: Tensor, b: Tensor | None) -> Tensor:
        return a if b is None else b


class TakesTwoDictionaries(nn.Module):
    def forward(self, a: Tensor, b: dict[str, Tensor]) -> Tensor:
        return a + b["b"]


class NoForward(nn.Module):
    @torch.jit.export
    def embed(self, a: Tensor) -> Tensor:
        return a


@pytest.fixture
def load(tmp_path):
    def load(module, kind="CPU", device_id=0, threads=1, **parameters):
        file = tmp_path / "model.pt"
        torch.jit.script(module).save(str(file))
        return TorchScriptModule(file, kind, device_id, threads, Parameters(**parameters))

    return load


def ones(*shape):
    return np.ones(shape, dtype=np.float32)


@pytest.mark.parametrize("kind", ["CPU", "MODEL", "AUTO"])
def test_a_module_is_called_in_arrays(load, kind):
    module = load(Sum(), kind)
    assert module.arguments == ["a", "b"]
    (total,) = module([ones(2), ones(2)], [(FLOAT, 0)])
    assert total.tolist() == [2, 2]


@pytest.mark.parametrize("inference_mode", [True, False])
def test_inference_mode(load, inference_mode):
    module = load(Sum(), inference_mode=inference_mode)
    (inference,) = module([ones(1), ones(1)], [(Output("Y", "TYPE_INT64", (1,)), 1)])
    assert inference.tolist() == [inference_mode]


@pytest.mark.parametrize("inference_mode", [True, False])
def test_weights_that_require_gradients_are_no_obstacle(load, inference_mode):
    linear = nn.Linear(2, 2)
    (answer,) = load(linear, inference_mode=inference_mode)([ones(1, 2)], [(FLOAT, 0)])
    assert answer.tolist() == pytest.approx(linear(torch.ones(1, 2)).detach().numpy(), abs=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_the_files_own_mode_counts(load, training):
    # As with the C++ backend: what is exported in training mode is served so.
    (answer,) = load(Dropout().train(training))([ones(4)], [(FLOAT, 0)])
    assert answer.tolist() == [0.0 if training else 1.0] * 4


def test_threads_and_executor_are_set_on_purpose(load):
    module = load(Sum(), threads=3, cudnn=False)
    assert torch.get_num_threads() == 3
    assert torch.backends.cudnn.enabled is False
    assert "3 threads inside an operation" in str(module)
    # Each setter returns what was set before.
    assert torch._C._jit_set_profiling_executor(True) is True
    assert torch._C._jit_set_profiling_mode(True) is False
    load(Sum(), jit_executor=False, jit_profiling=True, tensor_fuser=False)
    assert torch._C._jit_set_profiling_executor(True) is False
    assert torch._C._jit_set_profiling_mode(True) is True
    assert torch._C._jit_texpr_fuser_enabled() is False


@pytest.mark.parametrize("optimized", [True, False])
def test_optimized_execution_holds_during_the_call_only(load, monkeypatch, optimized):
    module = load(Sum(), optimized_execution=optimized)
    seen = []
    inner = module._module
    monkeypatch.setattr(
        module, "_module", lambda *given: seen.append(torch._C._get_graph_executor_optimize()) or inner(*given)
    )
    module([ones(1), ones(1)], [(FLOAT, 0)])
    assert seen == [optimized]
    assert torch._C._get_graph_executor_optimize() is True


@pytest.mark.parametrize("content", [b"", b"nothing that torch knows"])
def test_a_file_that_is_no_torchscript_is_refused(tmp_path, content):
    file = tmp_path / "model.pt"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match="is not a TorchScript module"):
        TorchScriptModule(file, "CPU", 0, 1, Parameters())


def test_a_state_dict_is_refused(tmp_path):
    file = tmp_path / "model.pt"
    torch.save({"a": torch.ones(1)}, file)
    with pytest.raises(ConfigurationError, match="is not a TorchScript module"):
        TorchScriptModule(file, "CPU", 0, 1, Parameters())


def test_a_module_without_forward_is_refused(load):
    with pytest.raises(ConfigurationError, match="with a forward method"):
        load(NoForward())


def test_an_argument_that_is_neither_tensor_nor_list_is_refused(load):
    with pytest.raises(ConfigurationError, match=r"An input of type 'Optional\[Tensor\]' was detected in the model"):
        load(TakesOptional())


def test_a_dictionary_beside_another_argument_is_refused(load):
    with pytest.raises(ConfigurationError, match=r"Only a single input of type Dict\[str, Tensor\] is supported"):
        load(TakesTwoDictionaries())


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_refused(load):
    with pytest.raises(ConfigurationError, match=r"asks for GPU 1, and this torch .* sees 0; use kind: KIND_CPU"):
        load(Sum(), "GPU", 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_module_runs_on_its_gpu(load):
    (total,) = load(Sum(), "GPU", 0, cache_cleaning=True)([ones(2), ones(2)], [(FLOAT, 0)])
    assert total.tolist() == [2, 2]


def test_an_output_that_forward_did_not_return_is_an_error(load):
    with pytest.raises(OutputError, match=r"output Y .* output index which doesn't exist. This model has 2"):
        load(Sum())([ones(1), ones(1)], [(FLOAT, 2)])


@pytest.mark.parametrize(
    "answer",
    [{}, None, 1, 1.0, "text", [torch.ones(1)], (torch.ones(1), (torch.ones(1),)), ({},)],
    ids=repr,
)
def test_answers_that_are_no_outputs(answer):
    with pytest.raises(
        AnswerError, match=r"PyTorch execute failure: output.* must be of type Tensor( or|,) List\[str\]"
    ):
        flatten(answer)


def test_answers_that_are_outputs():
    one = torch.ones(1)
    assert flatten(one) == [one]
    assert flatten((one, ["a"])) == [one, ["a"]]
    assert flatten(["a"]) == [["a"]]
    assert flatten([]) == [[]]


@pytest.mark.parametrize(
    ("output", "answer", "says"),
    [
        (FLOAT, torch.tensor(1.0), "'Y' is a scalar which is not supported."),
        (FLOAT, torch.ones(1, dtype=torch.bfloat16), "TYPE_FP32 for output 'Y', model provides torch.bfloat16"),
        (FLOAT, torch.ones(1, dtype=torch.float64), "TYPE_FP32 for output 'Y', model provides TYPE_FP64"),
        (FLOAT, ["a"], "TYPE_FP32 for output 'Y', model provides TYPE_STRING; the C.. backend would answer"),
        (TEXT, torch.ones(1), "TYPE_STRING for output 'Y', model provides TYPE_FP32"),
    ],
)
def test_outputs_that_are_not_as_configured(output, answer, says):
    with pytest.raises(OutputError, match=says):
        to_numpy(output, answer)


def test_an_output_on_the_cpu_is_not_copied():
    answer = torch.ones(2, 3)
    assert to_numpy(FLOAT, answer).ctypes.data == answer.data_ptr()
    assert to_numpy(FLOAT, answer.t()).tolist() == [[1, 1]] * 3


def test_text_is_encoded():
    assert to_numpy(TEXT, ["é", ""]).tolist() == ["é".encode(), b""]
