"""Attention in C (``kernels.c``) in place of libtorch's, which is slow on short sequences.

What an export computes between its products, it computes by libtorch's operators, so that NVIDIA's container computes
it as well. Here, at load, a packed batch's attention becomes one operator, which looks at each sequence's own tokens
alone. Milliseconds of one core, 12 heads of 32, libtorch's and this one: 100 sequences of 20 tokens 4.0 and 1.2, 64 of
6 to 55 tokens 4.0 and 1.6, 5 of 384 tokens 14.5 and 10.2; a lone one of 12 tokens 0.03 and 0.01.
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

from trident_server.backends import KERNELS_VARIABLE, PROCESSORS
from trident_server.backends.pytorch.prepacking import nodes

#: By what libtorch calls a processor; others have no vectors that would pay.
LEVELS = dict(zip(("AVX2", "AVX512"), PROCESSORS, strict=True))

_loading = threading.Lock()


def install(module: Any) -> int:
    """Let a module's packed attention be computed in C, in place.

    Must be called before the module runs for the first time.

    Args:
        module: a loaded TorchScript module on the CPU.

    Returns:
        The number of places where it is; 0 where nothing is compiled for this processor, or the module does not compute
        in float32.
    """
    # Models load side by side, and libtorch is told of the operators once.
    with _loading:
        return _install(module.forward.graph)


def _install(graph: Any) -> int:
    if not _are_there() or not all(_is_float32(node) for node in nodes(graph) if node.kind() == "aten::linear"):
        return 0
    loops = [node for node in nodes(graph) if node.kind() == "prim::Loop"]
    found = [attention for loop in loops if (attention := _attention_of(loop))]
    for attention in found:
        _replace(graph, attention)
    return len(found)


def _are_there() -> bool:
    """Return whether libtorch knows the operators, as far as there are any for this processor."""
    folder, level = os.environ.get(KERNELS_VARIABLE), LEVELS.get(torch.backends.cpu.get_cpu_capability())
    file = Path(folder or "", f"kernels-{level}.so")
    return bool(folder) and file.is_file() and _register(file)


@functools.cache
def _register(file: Path) -> bool:
    """Make the operators known to libtorch, and return whether it takes them."""
    refused: int = ctypes.CDLL(str(file)).trident_register()
    return refused == 0


def _is_float32(linear: Any) -> bool:
    weight = _input(linear, 1).toIValue()
    return isinstance(weight, Tensor) and weight.dtype is torch.float32


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


def _replace(graph: Any, found: _Attention) -> None:
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
