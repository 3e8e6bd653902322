"""Operators in C (``kernels.c``) in place of libtorch's, put into a module's graph at load.

What an export computes, it computes by libtorch's operators, so that NVIDIA's container computes it as well. Some are
computed here sooner. Milliseconds of one core with AVX512-VNNI, libtorch's and these:

===========================================================  =========  =====
attention, 12 heads of 32: 100 sequences of 20 tokens              4.0    1.2
64 sequences of 6 to 55 tokens                                     4.0    1.6
5 sequences of 384 tokens                                         14.5   10.2
a linear layer in int8, 384 to 1,536, of 1,485 tokens              2.3    1.7
the same of 14 tokens                                            0.033  0.018
===========================================================  =========  =====
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from trident_server.backends import KERNELS_VARIABLE
from trident_server.backends.pytorch.prepacking import nodes

QUANTIZED = "quantized::linear_with_input_q_dq_qweight_dq_output_fp32"
#: What inputs and outputs of a layer are multiples of, which is also how many outputs' weights stand together, and the
#: most of either.
INPUTS, OUTPUTS, MOST = 16, 64, 8192

_loading = threading.Lock()


class Installed(NamedTuple):
    """What is computed by the operators.

    Attributes:
        attentions: places where packed attention is.
        layers: linear layers in int8.
    """

    attentions: int = 0
    layers: int = 0


def install(module: Any) -> Installed:
    """Let a module's packed attention and linear layers in int8 be computed in C, in place.

    Must be called before the module runs for the first time.

    Args:
        module: a loaded TorchScript module on the CPU.

    Returns:
        What is; nothing where nothing is compiled for this processor.
    """
    graph = module.forward.graph
    # Models load side by side, and libtorch is told of the operators once.
    with _loading:
        if not _are_there():
            return Installed()
        attentions: list[_Attention] = []
        if _is_float32(graph):
            loops = [node for node in nodes(graph) if node.kind() == "prim::Loop"]
            attentions = [found for loop in loops if (found := _attention_of(loop))]
            norms = [node for node in nodes(graph) if node.kind() == "aten::layer_norm"]
            for attention in attentions:
                _replace_attention(graph, attention)
            for norm in norms:
                _replace_norm(graph, norm)
        layers = [node for node in nodes(graph) if node.kind() == QUANTIZED] if _processor() == "avx512_vnni" else []
        # A layer behind a GELU takes along the one before it, which is next then.
        count, taken = 0, ""
        for layer in reversed(layers):
            if layer.output().debugName() != taken:
                done, taken = _replace_layer(graph, layer)
                count += done
        # Weights as they were are constants that nothing uses any more.
        torch._C._jit_pass_dce(graph)
    return Installed(len(attentions), count)


def _processor() -> str | None:
    """Return which of :data:`PROCESSORS` this one is; None without vectors that would pay."""
    if torch.cpu._is_vnni_supported():
        return "avx512_vnni"
    return {"AVX512": "avx512", "AVX2": "avx2"}.get(torch.backends.cpu.get_cpu_capability())


def _are_there() -> bool:
    """Return whether libtorch knows the operators, as far as there are any for this processor."""
    folder = os.environ.get(KERNELS_VARIABLE)
    file = Path(folder or "", f"kernels-{_processor()}.so")
    return bool(folder) and file.is_file() and _register(file)


@functools.cache
def _register(file: Path) -> bool:
    """Make the operators known to libtorch, and return whether it takes them."""
    refused: int = ctypes.CDLL(str(file)).trident_register()
    return refused == 0


def _is_float32(graph: Any) -> bool:
    """Say whether layers compute in float32, those in int8 included; embeddings may lie in float16."""
    constants = (node.output().toIValue() for node in nodes(graph) if node.kind() == "prim::Constant")
    if any(isinstance(each, Tensor) and each.dtype is torch.bfloat16 for each in constants):
        return False
    weights = (_input(node, 1).toIValue() for node in nodes(graph) if node.kind() == "aten::linear")
    return all(isinstance(each, Tensor) and each.dtype is torch.float32 for each in weights)


class _Attention(NamedTuple):
    """The loop over blocks of rows that ``trident_training.export.attention.packed_attention`` is.

    Attributes:
        query: value of the graph, as the following ones.
        key: likewise.
        value: likewise.
        layout: likewise.
        bias: likewise, or None.
        scale: of the products.
        answer: the node that has what was attended.
        surrounding: what is needed for nothing else, each node after those that use it.
    """

    query: Any
    key: Any
    value: Any
    layout: Any
    bias: Any
    scale: float
    answer: Any
    surrounding: list[Any]


def _attention_of(loop: Any) -> _Attention | None:
    """Return what a loop computes, None if that is something else."""
    (body,) = loop.blocks()
    try:
        (attend,) = (node for node in body.nodes() if node.kind() == "aten::scaled_dot_product_attention")
        (append,) = (node for node in body.nodes() if node.kind() == "aten::append")
        query, key, value, *_ = (
            _source(each, "transpose", "view", "slice", "slice", "select") for each in [*attend.inputs()][:3]
        )
        scale = _input(attend, 6).toIValue()
        blocks, _, *carried = loop.inputs()
        layout = _source(blocks, "Int", "item", "select", "view")
        (bias,) = (each for each in carried if each.type().kind() != "IntType")
        # Behind the last block's part, what is free gets zeros; then the parts are joined.
        parts = _input(append)
        (join,) = (use.user for use in parts.uses() if use.user.kind() == "aten::cat")
        (zeros,) = (
            node
            for use in parts.uses()
            if use.user.kind() == "aten::append" and (node := _input(use.user, 1).node()).kind() == "aten::zeros"
        )
        (last,) = (use.user for use in zeros.output().uses())
        (answer,) = (use.user for use in join.output().uses())
    except (LookupError, ValueError):
        return None
    shape = _input(zeros).node()
    surrounding = [join, last, zeros, shape, _input(shape).node(), loop, parts.node()]
    return _Attention(query, key, value, layout, None if bias.node().mustBeNone() else bias, scale, answer, surrounding)


def _source(value: Any, *kinds: str) -> Any:
    """Return what a value is made of by operators of these kinds, the last one named first.

    Raises:
        LookupError: it is made by others.
    """
    for kind in kinds:
        if value.node().kind() != f"aten::{kind}":
            raise LookupError(value.node().kind())
        value = _input(value.node())
    return value


def _input(node: Any, place: int = 0) -> Any:
    return [*node.inputs()][place]


def _replace_attention(graph: Any, found: _Attention) -> None:
    given = [found.query, found.key, found.value, found.layout]
    attend = _attend if found.bias is None else _attend_biased
    with graph.insert_point_guard(found.answer):
        given.append(graph.insertConstant(found.scale))
        if found.bias is not None:
            given.append(found.bias)
        (attended,) = graph.insertGraph(torch.jit.script(attend).graph, given)
    found.answer.output().replaceAllUsesWith(attended)
    for node in (found.answer, *found.surrounding):
        node.destroy()


class _Layer(NamedTuple):
    """A linear layer in int8.

    Attributes:
        hidden: the graph's value that it takes.
        constants: its factors, zero, weights, scales and offsets, as ``products.c`` has them.
    """

    hidden: Any
    constants: tuple[Tensor, int, Tensor, Tensor, Tensor]


def _layer_of(node: Any) -> _Layer | None:
    """Return what a node of the kind :data:`QUANTIZED` computes; None of sizes that are not computed here."""
    hidden, scale, zero, packed = node.inputs()
    scale, zero, packed = (each.toIValue() for each in (scale, zero, packed))
    if not (isinstance(scale, float) and isinstance(zero, int) and isinstance(packed, torch.ScriptObject)):
        return None
    weight, bias = torch.ops.quantized.linear_unpack(packed)
    outputs, inputs = weight.shape
    if weight.qscheme() != torch.per_channel_affine or inputs % INPUTS or outputs % OUTPUTS or max(weight.shape) > MOST:
        return None
    factors = torch.full([inputs], 1 / scale)
    moved = _input(hidden.node(), 1).toIValue() if hidden.node().kind() == "aten::mul" else None
    if isinstance(moved, Tensor) and moved.shape == factors.shape:
        factors *= moved
        hidden = _input(hidden.node())
    whole, scales = weight.int_repr(), (weight.q_per_channel_scales() * scale).float()
    offsets = -zero * whole.sum(1, dtype=torch.int32) * scales
    if bias is not None:
        offsets += bias
    steps = whole.view(-1, OUTPUTS, inputs // 4, 4).transpose(1, 2).contiguous().view(-1)
    return _Layer(hidden, (factors, zero, steps, scales, offsets.detach()))


def _replace_norm(graph: Any, node: Any) -> None:
    """Let a layer's answer and what it is added to be normalized as one, if that is what a normalization is given."""
    added, _, weight, bias, epsilon, _ = node.inputs()
    add = added.node()
    if add.kind() != "aten::add" or len(added.uses()) != 1 or _input(add, 2).toIValue() != 1:
        return
    if not all(isinstance(each := value.toIValue(), Tensor) and each.dim() == 1 for value in (weight, bias)):
        return
    # The layer's answer is overwritten, so nobody else may want it.
    summands = sorted([*add.inputs()][:2], key=lambda each: each.node().kind() not in (QUANTIZED, "aten::linear"))
    if summands[0].node().kind() not in (QUANTIZED, "aten::linear") or len(summands[0].uses()) != 1:
        return
    with graph.insert_point_guard(node):
        (answer,) = graph.insertGraph(torch.jit.script(_normalize).graph, [*summands, weight, bias, epsilon])
    node.output().replaceAllUsesWith(answer)
    node.destroy()
    add.destroy()


def _before_gelu(value: Any) -> Any:
    """Return the node of a layer whose answer, through a GELU and to nobody else, is this value; None if it is not."""
    node = value.node()
    if node.kind() != "aten::gelu" or len(value.uses()) != 1 or _input(node, 1).toIValue() != "none":
        return None
    product = _input(node)
    return product.node() if product.node().kind() == QUANTIZED and len(product.uses()) == 1 else None


def _replace_layer(graph: Any, node: Any) -> tuple[int, str]:
    """Let a layer, and the one before its GELU, be computed in C; return how many these are, and the other's name."""
    if not (layer := _layer_of(node)):
        return 0, ""
    before = _before_gelu(layer.hidden)
    layers = [first, layer] if before is not None and (first := _layer_of(before)) else [layer]
    compute = _feed_forward if len(layers) == 2 else _multiply
    with graph.insert_point_guard(node):
        constants = [graph.insertConstant(each) for one in layers for each in one.constants]
        (answer,) = graph.insertGraph(torch.jit.script(compute).graph, [layers[0].hidden, *constants])
    node.output().replaceAllUsesWith(answer)
    node.destroy()
    return len(layers), before.output().debugName() if len(layers) == 2 else ""


def _attend(query: Tensor, key: Tensor, value: Tensor, layout: Tensor, scale: float) -> Tensor:
    out = query.new_empty([1, query.size(2), query.size(1), query.size(3)])
    if not torch.ops.trident.packed_attention(out, query, key, value, layout, scale):
        raise RuntimeError("packed attention takes float32 and heads of 256 numbers at most; DISABLE_PREPACKING helps")
    return out


def _attend_biased(query: Tensor, key: Tensor, value: Tensor, layout: Tensor, scale: float, bias: Tensor) -> Tensor:
    out = query.new_empty([1, query.size(2), query.size(1), query.size(3)])
    if not torch.ops.trident.packed_attention(out, query, key, value, layout, scale, bias):
        raise RuntimeError("packed attention takes float32 and heads of 256 numbers at most; DISABLE_PREPACKING helps")
    return out


def _normalize(hidden: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    if not torch.ops.trident.normalized_sum(hidden, residual, weight, bias, epsilon):
        hidden = torch.layer_norm(hidden + residual, [weight.size(0)], weight, bias, epsilon)
    return hidden


def _multiply(hidden: Tensor, factors: Tensor, zero: int, weights: Tensor, scales: Tensor, offsets: Tensor) -> Tensor:
    size = list(hidden.size())
    size[-1] = scales.size(0)
    out = hidden.new_empty(size)
    if not torch.ops.trident.multiplied(out, hidden.contiguous(), factors, zero, weights, scales, offsets):
        raise RuntimeError("linear layers in int8 take float32; DISABLE_PREPACKING helps")
    return out


def _feed_forward(
    hidden: Tensor,
    factors: Tensor,
    zero: int,
    weights: Tensor,
    scales: Tensor,
    offsets: Tensor,
    then_factors: Tensor,
    then_zero: int,
    then_weights: Tensor,
    then_scales: Tensor,
    then_offsets: Tensor,
) -> Tensor:
    size = list(hidden.size())
    size[-1] = then_scales.size(0)
    out = hidden.new_empty(size)
    if not torch.ops.trident.fed_forward(
        out,
        hidden.contiguous(),
        factors,
        zero,
        weights,
        scales,
        offsets,
        then_factors,
        then_zero,
        then_weights,
        then_scales,
        then_offsets,
    ):
        raise RuntimeError("linear layers in int8 take float32, and memory; DISABLE_PREPACKING helps")
    return out
