"""Prepacked weights: the same answers, for every shape, and nothing touched that is not a frozen bfloat16 layer."""

import pytest
import torch
from torch import nn
from trident_server.backends.pytorch.parameters import Parameters
from trident_server.backends.pytorch.prepacking import prepack
from trident_server.backends.pytorch.torchscript import TorchScriptModule

needs_bfloat16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="the processor does not compute in bfloat16"
)


class Layers(nn.Module):
    """Linear layers with and without bias, one before a GELU and one in a branch."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.plain, self.last = nn.Linear(16, 24), nn.Linear(24, 8, bias=False), nn.Linear(8, 4)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        hidden = self.plain(torch.nn.functional.gelu(self.first(hidden)))
        return self.last(hidden) if hidden.dim() > 1 else hidden


@pytest.fixture
def saved(tmp_path):
    """Saves the layers in a dtype, frozen or not, and loads them as often as asked."""

    def save(dtype=torch.bfloat16, frozen=True):
        torch.manual_seed(0)
        module = torch.jit.script(Layers().to(dtype).eval())
        (torch.jit.freeze(module) if frozen else module).save(str(tmp_path / "model.pt"))
        return lambda: torch.jit.load(str(tmp_path / "model.pt"))

    return save


class Branching(nn.Module):
    """A layer whose answer is wanted beside its GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(16, 24)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        hidden = self.first(hidden)
        return hidden + torch.nn.functional.gelu(hidden)


def kinds(module, *wanted) -> list[str]:
    return [
        node.kind()
        for kind in wanted or ("aten::linear", "mkldnn::_linear_pointwise")
        for node in module.graph.findAllNodes(kind)
    ]


@needs_bfloat16
def test_every_frozen_layer_is_prepacked_and_answers_the_same_for_every_shape(saved):
    load = saved()
    plain, packed = load(), load()
    assert prepack(packed) == 3
    assert kinds(plain) == ["aten::linear"] * 3
    assert kinds(packed) == ["mkldnn::_linear_pointwise"] * 3
    assert kinds(packed, "aten::gelu") == []
    with torch.inference_mode():
        for shape in ((16,), (0, 16), (1, 16), (7, 16), (700, 16), (2, 5, 16)):
            hidden = torch.randn(shape, dtype=torch.bfloat16)
            torch.testing.assert_close(packed(hidden), plain(hidden), rtol=0.02, atol=0.01)


def frozen_bfloat16(module: nn.Module):
    return torch.jit.freeze(torch.jit.script(module.bfloat16().eval()))


@needs_bfloat16
@pytest.mark.parametrize("variant", ["none", "tanh"])
def test_a_gelu_behind_a_layer_is_computed_with_it(variant):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(16, 24), nn.GELU(variant))
    packed = frozen_bfloat16(module)
    assert prepack(packed) == 1
    assert kinds(packed, "aten::gelu") == []
    hidden = 4 * torch.randn(50, 16, dtype=torch.bfloat16)
    with torch.inference_mode():
        found, product = packed(hidden).float(), module[0].float()(hidden.float())
    expected = {each: nn.functional.gelu(product, approximate=each) for each in ("none", "tanh")}
    torch.testing.assert_close(found, expected.pop(variant), rtol=0.01, atol=1e-4)
    # In its tail the other variant is another function.
    with pytest.raises(AssertionError):
        torch.testing.assert_close(found, *expected.values(), rtol=0.01, atol=1e-4)


@needs_bfloat16
def test_a_layer_whose_answer_is_wanted_without_the_gelu_too_stays_apart_from_it():
    module = Branching()
    plain, packed = frozen_bfloat16(module), frozen_bfloat16(module)
    hidden = torch.randn(5, 16, dtype=torch.bfloat16)
    assert prepack(packed) == 1
    assert kinds(packed, "aten::gelu") == ["aten::gelu"]
    with torch.inference_mode():
        torch.testing.assert_close(packed(hidden), plain(hidden), rtol=0.02, atol=0.01)


@pytest.mark.parametrize(("dtype", "frozen"), [(torch.float32, True), (torch.bfloat16, False)])
def test_other_dtypes_and_modules_that_are_not_frozen_stay_as_they_are(saved, dtype, frozen):
    load = saved(dtype, frozen)
    plain, packed = load(), load()
    assert prepack(packed) == 0
    hidden = torch.randn(3, 16, dtype=dtype)
    with torch.inference_mode():
        assert torch.equal(packed(hidden), plain(hidden))


def test_a_processor_without_bfloat16_keeps_the_weights_as_they_are(saved, monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    module = saved()()
    assert prepack(module) == 0
    assert kinds(module) == ["aten::linear"] * 3


@needs_bfloat16
@pytest.mark.parametrize(
    ("told", "packs"), [({}, True), ({"optimized_execution": False}, False), ({"prepacking": False}, False)]
)
def test_the_backend_prepacks_unless_told_not_to(saved, tmp_path, told, packs):
    saved()
    kind = "mkldnn::_linear_pointwise" if packs else "aten::linear"
    parameters = Parameters(**told)
    module = TorchScriptModule(tmp_path / "model.pt", "CPU", 0, torch.get_num_threads(), parameters)
    assert kinds(module._module) == [kind] * 3
    assert f"{3 * packs} linear layers with prepacked weights" in str(module)
