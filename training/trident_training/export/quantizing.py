"""Linear layers that multiply in int8: one scale for each output of a weight, and one for a layer's inputs.

The inputs' scale is found once, on a sample of text, and stands: a text is answered the same whatever is beside it in
the batch, and no layer needs to look at its inputs first. What is beyond the scale becomes its largest number. Inputs
that are far above a layer's others would leave these few of the eight bits: half of what they are above them or more,
as a power, moves into the weight. The words' embeddings, which are looked up and not multiplied, take 16 bits.

Sources: Xiao et al., SmoothQuant (2023), equation 4, for what moves into the weight, and section 4 for scales that
stand; Jacob et al., Quantization and Training of Neural Networks (2018), section 2.1, for the arithmetic.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from trident_training.checkpoints.precision import weight_steps

#: Largest whole number that an input becomes; the least is 0.
STEPS = 255
#: How much of an input's size may move into the weight; a layer has what loses it least.
SMOOTHINGS = (0.5, 0.6, 0.7, 0.8)
#: Tokens by which that is seen.
TRIED = 256
#: Least scale and size: nothing is divided by zero.
LEAST = 1e-5


def quantize_linears(encoder: nn.Module, *arguments: Tensor) -> None:
    """Replace every linear layer, in place.

    Args:
        encoder: what to change; float32, on the CPU.
        arguments: what to call it with to see between which values the layers' inputs are.

    Raises:
        ValueError: libtorch has no int8 products for this processor.
    """
    if "x86" not in torch.backends.quantized.supported_engines:
        raise ValueError("int8 needs an x86 processor with AVX2; float32 and bfloat16 are computed by any")
    with torch.no_grad(), _quantized(encoder) as layers:
        encoder(*arguments)
    for module in list(encoder.modules()):
        for name, child in module.named_children():
            if child in layers:
                setattr(module, name, layers[child])


def halve_embeddings(encoder: PreTrainedModel) -> None:
    """Keep the words' embeddings in float16, in place, unless the encoder has a table of a kind of its own."""
    table = encoder.get_input_embeddings()
    if type(table) is nn.Embedding:
        words, width = table.weight.shape
        half = HalfEmbedding(words, width, dtype=torch.float16)
        half.weight.data = table.weight.detach().half()
        encoder.set_input_embeddings(half)


class QuantizedLinear(nn.Module):
    """A linear layer in int8; float32 in and out.

    Args:
        linear: the layer that it stands for.
        bounds: least and largest value of each input; float32 ``[2, in]``.
        smoothing: how much of an input's size moves into the weight, 0 to 1.
    """

    #: T5 asks what dtype it is of, where it is a tensor.
    weight = None

    def __init__(self, linear: nn.Linear, bounds: Tensor, smoothing: float) -> None:
        super().__init__()
        weight = linear.weight.detach()
        sizes = bounds.abs().amax(0).clamp(min=LEAST)
        factors = sizes**smoothing / weight.abs().amax(0).clamp(min=LEAST) ** (1 - smoothing)
        weight, bounds = weight * factors, bounds / factors
        scales = (weight.abs().amax(1) / weight_steps()).clamp(min=LEAST**2).double()
        zeros = torch.zeros(len(weight), dtype=torch.int64)
        with warnings.catch_warnings():
            # Tensors of int8 are to go one day; the operators, which what is exported uses, are older than that.
            warnings.simplefilter("ignore", UserWarning)
            quantized = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
        bias = None if linear.bias is None else linear.bias.detach()
        #: Brought into the order that the kernels read; saved as it was, and ordered anew at load.
        self.packed = torch.ops.quantized.linear_prepack(quantized, bias)
        self.factors = nn.Parameter(1 / factors, requires_grad=False)
        # Zero is among the values, and a whole number.
        least, largest = min(bounds.min().item(), 0.0), max(bounds.max().item(), 0.0)
        self.scale = max((largest - least) / STEPS, LEAST**2)
        self.zero = round(-least / self.scale)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return float32 ``[..., out]`` of float32 ``[..., in]``."""
        product: Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            hidden * self.factors, self.scale, self.zero, self.packed
        )
        return product


class HalfEmbedding(nn.Embedding):
    """A table kept in float16, half the memory; what is looked up is float32 again, as the layers take it."""

    def forward(self, ids: Tensor) -> Tensor:
        """Return float32 ``[..., width]`` of int64 ids ``[...]``."""
        return super().forward(ids).float()


def quantized(linear: nn.Linear, hidden: Tensor) -> QuantizedLinear:
    """Return a layer in int8, smoothed as much as loses least.

    Args:
        linear: the layer.
        hidden: some of its inputs, between whose values others will be; float32 ``[n, in]``.
    """
    bounds = torch.stack([hidden.amin(0), hidden.amax(0)])
    tried = hidden[:: max(1, len(hidden) // TRIED)]
    exact = nn.functional.linear(tried, linear.weight, linear.bias)
    layers = (QuantizedLinear(linear, bounds, each) for each in SMOOTHINGS)
    return min(layers, key=lambda layer: (layer(tried) - exact).square().mean().item())


@contextmanager
def _quantized(encoder: nn.Module) -> Iterator[dict[nn.Module, nn.Module]]:
    """Give a mapping that fills with the linear layers that are called and what stands for each in int8."""
    layers: dict[nn.Module, nn.Module] = {}

    def note(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        # A layer that is called more than once is taken as it was first called.
        if layer not in layers:
            layers[layer] = quantized(cast(nn.Linear, layer), given[0].flatten(0, -2))

    linears = [module for module in encoder.modules() if type(module) is nn.Linear]
    hooks = [layer.register_forward_pre_hook(note) for layer in linears]
    try:
        yield layers
    finally:
        for hook in hooks:
            hook.remove()
