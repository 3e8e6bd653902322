"""Linear layers that multiply in int8: one scale for each output of a weight, and one for each token.

A token's scale is taken from the token itself, when it comes, so that a text is answered the same whatever stands
beside it in the batch, and no data is needed to find it. Inputs of a layer that are far above its others would leave
little of the others in eight bits: half of what they are above them, as a power, moves into the weight.

Sources: Dettmers et al., LLM.int8() (2022), section 2.1, for the scales; Xiao et al., SmoothQuant (2023), equation 4,
for what moves into the weight.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

#: Largest whole number that a token's values become.
TOKEN_STEPS = 127
#: The same of a weight, 7 bits of 8: processors without VNNI add two products up in 16 bits, which more would overflow.
WEIGHT_STEPS = 63
#: How much of an input's size moves into the weight.
SMOOTHING = 0.5
#: Least scale and size: nothing is divided by zero.
LEAST = 1e-5


def quantize_linears(encoder: nn.Module, *arguments: Tensor) -> None:
    """Replace every linear layer, in place.

    Args:
        encoder: what to change; float32, on the CPU.
        arguments: what to call it with to see how large the layers' inputs are.

    Raises:
        ValueError: libtorch has no int8 products for this processor.
    """
    if "x86" not in torch.backends.quantized.supported_engines:
        raise ValueError("int8 needs an x86 processor with AVX2; float32 and bfloat16 are computed by any")
    with torch.no_grad(), _watched(encoder) as sizes:
        encoder(*arguments)
    for module in list(encoder.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear) and child in sizes:
                setattr(module, name, QuantizedLinear(child, sizes[child]))


class QuantizedLinear(nn.Module):
    """A linear layer in int8; float32 in and out.

    Args:
        linear: the layer that it stands for.
        sizes: largest absolute value of each input; float32 ``[in]``.
    """

    def __init__(self, linear: nn.Linear, sizes: Tensor) -> None:
        super().__init__()
        weight = linear.weight.detach()
        smoothing = sizes.clamp(min=LEAST) ** SMOOTHING / weight.abs().amax(0).clamp(min=LEAST) ** (1 - SMOOTHING)
        weight = weight * smoothing
        scales = (weight.abs().amax(1) / WEIGHT_STEPS).clamp(min=LEAST**2).double()
        zeros = torch.zeros(len(weight), dtype=torch.int64)
        with warnings.catch_warnings():
            # Tensors of int8 are to go one day; the operators, which what is exported uses, are older than that.
            warnings.simplefilter("ignore", UserWarning)
            quantized = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
        #: Brought into the order that the kernels read; saved as it was, and ordered anew at load.
        self.packed = torch.ops.quantized.linear_prepack(quantized, None)
        bias = torch.zeros(len(weight)) if linear.bias is None else linear.bias.detach()
        self.bias = nn.Parameter(bias, requires_grad=False)
        self.smoothing = nn.Parameter(1 / smoothing, requires_grad=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return float32 ``[..., out]`` of float32 ``[..., in]``."""
        hidden = hidden * self.smoothing
        # Fifteen times as fast as the largest norm, which is not vectorized.
        largest = torch.maximum(hidden.amax(-1, keepdim=True), -hidden.amin(-1, keepdim=True))
        scale = largest.clamp(min=LEAST**2) / TOKEN_STEPS
        # Whole numbers around 128; the kernel takes no further scale, and none but theirs is left to be undone.
        product = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            hidden / scale, 1.0, TOKEN_STEPS + 1, self.packed
        )
        return torch.addcmul(self.bias, product, scale)


@contextmanager
def _watched(encoder: nn.Module) -> Iterator[dict[nn.Module, Tensor]]:
    """Give a mapping that fills with every linear layer that is called, and the largest value of each of its inputs."""
    sizes: dict[nn.Module, Tensor] = {}

    def note(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        largest = given[0].abs().flatten(0, -2).amax(0)
        sizes[layer] = torch.maximum(largest, sizes[layer]) if layer in sizes else largest

    layers = [module for module in encoder.modules() if type(module) is nn.Linear]
    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        yield sizes
    finally:
        for hook in hooks:
            hook.remove()
