"""Operators in C: the same answers as libtorch's, whatever a batch is made of, and nothing else is touched."""

import copy
import itertools
import random
import subprocess
import sys

import pytest
import torch
import transformers
from torch import nn
from trident_server.backends import KERNELS_VARIABLE
from trident_server.backends.pytorch import kernels
from trident_server.backends.pytorch.parameters import Parameters
from trident_server.backends.pytorch.prepacking import nodes, prepack
from trident_server.backends.pytorch.torchscript import TorchScriptModule
from trident_server.compilation import compile_kernels, find_toolchain
from trident_training.export.encoders import packed_encoder
from trident_training.export.packing import pack
from trident_training.export.quantizing import quantize_linears

PROCESSOR = kernels._processor()
LAYERS = 2
#: Linear layers in int8 of one layer: query, key and value are one.
LINEAR = 4
SIZES = {"vocab_size": 97, "num_hidden_layers": LAYERS, "intermediate_size": 48, "max_position_embeddings": 514}
ATTENTION = "aten::scaled_dot_product_attention"

pytestmark = pytest.mark.skipif(PROCESSOR is None, reason="nothing is compiled for a processor without AVX2")


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Where the operators of this processor are compiled; a process can make them known to libtorch once."""
    folder = tmp_path_factory.mktemp("kernels")
    compile_kernels(find_toolchain(), PROCESSOR, folder / f"kernels-{PROCESSOR}.so", strict=True)
    return folder


@pytest.fixture(autouse=True)
def _compiled(folder, monkeypatch):
    monkeypatch.setenv(KERNELS_VARIABLE, str(folder))


class Packing(nn.Module):
    """Packs a ragged batch and runs an encoder on it, as heads do."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return the last hidden state of every token, in the order of ``ids``."""
        batch = pack(ids, lengths)
        ids = ids[batch.source]
        hidden = self.encoder(ids, torch.zeros_like(ids), batch)
        return torch.zeros_like(hidden).index_copy(0, batch.source, hidden)


def encoder(kind: str, width: int, heads: int, **further: int) -> transformers.PreTrainedModel:
    torch.manual_seed(3)
    sizes = SIZES | {"hidden_size": width, "num_attention_heads": heads} | further
    if kind == "bert":
        return transformers.BertModel(transformers.BertConfig(**sizes)).eval()
    if kind == "mpnet":
        model = transformers.MPNetModel(transformers.MPNetConfig(**sizes, pad_token_id=1)).eval()
    else:
        config = transformers.AutoConfig.for_model(kind, **sizes, d_ff=sizes["intermediate_size"], d_kv=width // heads)
        model = transformers.AutoModelForTextEncoding.from_config(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "relative_attention_bias" in name:
                # Drawn next to nothing, where in a trained encoder it matters.
                weight.normal_(std=2)
    return model


def exported(model: transformers.PreTrainedModel, dtype=torch.float32, sample=()):
    traced = packed_encoder(copy.deepcopy(model).to(dtype), sample)
    return torch.jit.freeze(torch.jit.script(Packing(traced).eval()))


def batches(longest: int) -> list[list[int]]:
    drawn = random.Random(5)
    short = [[drawn.randint(1, longest // 4) for _ in range(count)] for count in (1, 2, 9, 64)]
    mixed = [drawn.randint(1, longest) for _ in range(8)]
    return [*short, mixed, [17] * 32, [longest, 1, 1], [0, 3, 0], [0]]


def assert_equal(one, other, longest, **tolerances):
    for lengths in batches(longest):
        given = torch.randint(5, 97, (sum(lengths),)), torch.tensor(lengths)
        with torch.inference_mode():
            torch.testing.assert_close(one(*given), other(*given), **tolerances)


def attentions(module) -> int:
    return sum(node.kind() == ATTENTION for node in nodes(module.forward.graph))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("width", "heads"), [(32, 4), (48, 1), (64, 2), (60, 3)])
@pytest.mark.parametrize("kind", ["bert", "mpnet", "t5", "umt5"])
def test_answers_are_the_same_for_every_shape(kind, width, heads, threads):
    model = encoder(kind, width, heads)
    plain, changed = exported(model), exported(model)
    assert kernels.install(changed) == (attentions(plain), 0) == (LAYERS, 0)
    assert attentions(changed) == 0
    # Behind attention and behind the feed-forward network; the embeddings' own is no layer's, and T5's is another kind.
    assert count(changed, "trident::normalized_sum") == (2 * LAYERS if kind in {"bert", "mpnet"} else 0)
    torch.set_num_threads(threads)
    assert_equal(changed, plain, 200 if width < 60 else 500, atol=2e-5, rtol=1e-4)


def sample() -> list[torch.Tensor]:
    return [torch.randint(5, 97, (length,)) for length in (40, 3, 12)]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", ["bert", "mpnet", "t5"])
def test_a_network_in_int8_has_its_attention_and_its_layers(kind, threads):
    model, given = encoder(kind, 64, 4, intermediate_size=128), sample()
    plain, changed = exported(model, sample=given), exported(model, sample=given)
    assert kernels.install(changed) == (LAYERS, LAYERS * LINEAR if PROCESSOR == "avx512_vnni" else 0)
    assert attentions(changed) == 0
    torch.set_num_threads(threads)
    # What is at the edge of two whole numbers may become either.
    assert_equal(changed, plain, 60, atol=0.1, rtol=0.1)


needs_vnni = pytest.mark.skipif(PROCESSOR != "avx512_vnni", reason="the processor does not add up products of bytes")


class Layers(nn.Module):
    """Linear layers, some with what may be computed along behind them."""

    def __init__(self, sizes: tuple[int, ...], gelu: str, *, bias: bool) -> None:
        super().__init__()
        pairs = itertools.pairwise(sizes)
        self.layers = nn.ModuleList(nn.Linear(inputs, outputs, bias) for inputs, outputs in pairs)
        self.gelu = gelu

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        for place, layer in enumerate(self.layers):
            hidden = layer(hidden)
            if place % 2 == 0 and self.gelu == "relu":
                hidden = torch.relu(hidden)
            elif place % 2 == 0:
                hidden = nn.functional.gelu(hidden, approximate=self.gelu)
        return hidden


def in_int8(module: nn.Module, hidden: torch.Tensor):
    quantize_linears(module, hidden)
    with torch.no_grad():
        return torch.jit.freeze(torch.jit.trace(module.eval(), hidden, check_trace=False))


def count(module, kind: str) -> int:
    return sum(node.kind() == kind for node in nodes(module.forward.graph))


@needs_vnni
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("sizes", "gelu", "single", "double"),
    [
        ((64, 128, 64), "none", 0, 1),
        ((64, 128, 64, 192, 128), "none", 0, 2),
        ((64, 128), "none", 1, 0),
        ((64, 128, 64), "tanh", 2, 0),
        ((64, 128, 64), "relu", 2, 0),
        # Sizes that are none of ours.
        ((64, 100, 64), "none", 0, 0),
        ((20, 64, 64), "none", 1, 0),
        ((64, 8256, 64), "none", 0, 0),
    ],
)
def test_layers_in_int8_answer_as_libtorchs(sizes, gelu, single, double, bias):
    torch.manual_seed(0)
    module, hidden = Layers(sizes, gelu, bias=bias), 2 * torch.randn(50, sizes[0])
    plain, changed = in_int8(copy.deepcopy(module), hidden), in_int8(module, hidden)
    kernels.install(changed)
    assert (count(changed, "trident::multiplied"), count(changed, "trident::fed_forward")) == (single, double)
    assert count(changed, kernels.QUANTIZED) == len(sizes) - 1 - single - 2 * double
    for shape in ((1,), (0,), (7,), (97,), (1000,), (2, 3), (1, 0)):
        hidden = 3 * torch.randn(*shape, sizes[0])
        with torch.inference_mode():
            found, wanted = changed(hidden), plain(hidden)
        assert found.shape == wanted.shape
        # What is at the edge of two whole numbers may become either, and moves little.
        assert (found - wanted).abs().max() < 0.05 if found.numel() else True
        if found.numel():
            assert (found - wanted).abs().mean() < 1e-3


class Branching(nn.Module):
    """A layer whose answer is wanted beside its GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 64)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        hidden = self.first(hidden)
        return hidden + self.second(nn.functional.gelu(hidden))


class Normalizing(nn.Module):
    """A layer whose answer is added to something and normalized, and what else becomes of it."""

    def __init__(self, further: str) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(20, 20), nn.LayerNorm(20)
        self.further = further

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        found = self.linear(hidden)
        if self.further == "of one row":
            hidden = hidden[:1]
        normalized = self.norm(torch.add(hidden, found, alpha=2 if self.further == "twice" else 1))
        return normalized + found if self.further == "answer" else normalized


@pytest.mark.parametrize(("further", "replaced"), [("", 1), ("answer", 0), ("twice", 0), ("of one row", 1)])
def test_a_sum_that_is_normalized_is_the_same_whatever_else_is_wanted_of_it(further, replaced):
    torch.manual_seed(0)
    module = Normalizing(further).eval()
    with torch.no_grad():
        module.norm.weight.normal_()
        module.norm.bias.normal_()
    changed = torch.jit.freeze(torch.jit.trace(module, torch.randn(3, 20), check_trace=False))
    kernels.install(changed)
    assert count(changed, "trident::normalized_sum") == replaced
    for rows in (1, 2, 100):
        hidden = torch.randn(rows, 20)
        with torch.inference_mode():
            torch.testing.assert_close(changed(hidden), module(hidden), atol=1e-5, rtol=1e-5)


@needs_vnni
def test_a_layer_whose_answer_is_wanted_without_the_gelu_too_stays_apart_from_the_next():
    module, hidden = Branching(), torch.randn(50, 64)
    plain, changed = in_int8(copy.deepcopy(module), hidden), in_int8(module, hidden)
    assert kernels.install(changed) == (0, 2)
    assert (count(changed, "trident::multiplied"), count(changed, "trident::fed_forward")) == (2, 0)
    with torch.inference_mode():
        assert (changed(hidden) - plain(hidden)).abs().mean() < 1e-3


@pytest.mark.parametrize("kind", ["bert", "mpnet"])
def test_a_text_is_answered_the_same_whatever_is_beside_it(kind):
    changed = exported(encoder(kind, 32, 4))
    kernels.install(changed)
    text = torch.randint(5, 97, (21,))
    with torch.inference_mode():
        alone = changed(text, torch.tensor([21]))
        company = torch.randint(5, 97, (90,))
        among = changed(torch.cat([company, text, company]), torch.tensor([80, 10, 21, 90]))
    torch.testing.assert_close(among[90:111], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("packs", [False, True])
def test_a_network_in_bfloat16_stays_as_it_is(packs):
    module = exported(encoder("bert", 32, 4), torch.bfloat16)
    if packs:
        prepack(module)
    assert kernels.install(module) == (0, 0)
    assert attentions(module) == LAYERS
    assert count(module, "trident::normalized_sum") == 0


class Attending(nn.Module):
    """Attention that is not of a packed batch, in a loop of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, hidden: torch.Tensor, times: int) -> torch.Tensor:
        """Return what comes of so many layers."""
        for _ in range(times):
            hidden = torch.nn.functional.scaled_dot_product_attention(hidden, hidden, self.linear(hidden))
        return hidden


def test_attention_of_another_kind_stays_as_it_is():
    module = torch.jit.freeze(torch.jit.script(Attending().eval()))
    assert kernels.install(module) == (0, 0)
    assert attentions(module) == 1


def test_heads_that_are_too_wide_are_refused_in_words():
    module = exported(encoder("bert", 260, 1))
    assert kernels.install(module) == (LAYERS, 0)
    with torch.inference_mode(), pytest.raises(torch.jit.Error, match="256 numbers at most; DISABLE_PREPACKING"):
        module(torch.tensor([7, 8]), torch.tensor([2]))


def test_models_that_load_side_by_side_have_it_all(folder):
    """In a process that knows nothing of the operators yet."""
    load = """
import ctypes, sys, threading, time, torch
from concurrent.futures import ThreadPoolExecutor
from trident_server.backends.pytorch import kernels
together, opened = threading.Barrier(8), ctypes.CDLL
def open_slowly(file):
    time.sleep(0.3)
    return opened(file)
ctypes.CDLL = open_slowly
def install(_):
    module = torch.jit.load(sys.argv[1])
    together.wait()
    return kernels.install(module)
with ThreadPoolExecutor(8) as pool:
    print(*(found.attentions for found in pool.map(install, range(8))))
"""
    exported(encoder("bert", 32, 4)).save(str(folder / "model.pt"))
    command = [sys.executable, "-c", load, str(folder / "model.pt")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == [str(LAYERS)] * 8


@pytest.mark.parametrize("missing", ["folder", "file"])
def test_without_the_library_all_stays_as_it_is(monkeypatch, tmp_path, missing):
    if missing == "folder":
        monkeypatch.delenv(KERNELS_VARIABLE)
    else:
        monkeypatch.setenv(KERNELS_VARIABLE, str(tmp_path))
    module = exported(encoder("bert", 32, 4))
    assert kernels.install(module) == (0, 0)
    assert attentions(module) == LAYERS


@pytest.mark.parametrize(
    ("told", "count"), [({}, LAYERS), ({"optimized_execution": False}, 0), ({"prepacking": False}, 0)]
)
def test_the_backend_installs_it_unless_told_not_to(tmp_path, told, count):
    exported(encoder("bert", 32, 4)).save(str(tmp_path / "model.pt"))
    module = TorchScriptModule(tmp_path / "model.pt", "CPU", 0, 1, Parameters(**told))
    assert f"in C {count} attentions and 0 layers in int8" in str(module)
    assert attentions(module._module) == LAYERS - count
