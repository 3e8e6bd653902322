"""Encoders whose attention adds a bias for how far apart two tokens are, made to run on packed rows.

Such encoders compute attention themselves, past transformers' attention interface. What runs their layers and what
attends are exchanged, everything else of them stays. The bias depends on distances alone, and a sequence's tokens stand
one after the other, so that the distance of two slots is that of their tokens, in whatever row and wherever in it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import MPNetModel, MT5EncoderModel, PreTrainedModel, T5EncoderModel, UMT5EncoderModel
from transformers.modeling_outputs import BaseModelOutput

from trident_training.export.attention import packed_attention


@torch.jit.script
def distances(layout: Tensor) -> Tensor:
    """Return how far apart two slots of a row can be: int64 ``[2 * w - 1]``, ``1 - w`` to ``w - 1``, the widest row's.

    Args:
        layout: :attr:`trident_training.export.packing.Packed.layout`.
    """
    flat = layout.view(-1)
    table: list[int] = flat[1 : 1 + 3 * int(flat[0].item())].tolist()
    widest = 1
    for block in range(len(table) // 3):
        widest = max(widest, table[3 * block + 1])
    return torch.arange(1 - widest, widest, device=layout.device)


@torch.jit.script
def packed_bias(by_distance: Tensor, layout: Tensor) -> Tensor:
    """Return what packed attention adds to its products, once for all layers.

    Args:
        by_distance: of each distance from a query to a key, as :func:`distances` lists them; ``[2 * w - 1, heads]``.
        layout: :attr:`trident_training.export.packing.Packed.layout`.

    Returns:
        The blocks' biases one after the other, flat: ``[1, heads, width, width]`` of a block whose rows hold a sequence
        each, ``[rows, heads, width, width]`` where they are shared, with minus infinity between two sequences.
    """
    flat = layout.view(-1)
    blocks = int(flat[0].item())
    table: list[int] = flat[1 : 1 + 3 * blocks].tolist()
    holder = flat[1 + 3 * blocks :]
    middle = by_distance.size(0) // 2
    # Something to join even where there is no block.
    parts = [by_distance.new_zeros([0])]
    start = 0
    for block in range(blocks):
        rows, width, shared = table[3 * block], table[3 * block + 1], table[3 * block + 2]
        end = start + rows * width
        # A query's keys are a window on the distances; the next query's starts one earlier.
        near = by_distance[middle + 1 - width : middle + width].t()
        bias = near.unfold(1, width, 1).flip([1]).unsqueeze(0)
        if shared == 1:
            held = holder[start:end].view(rows, 1, width)
            bias = bias.masked_fill((held.transpose(1, 2) != held).unsqueeze(1), float("-inf"))
        parts.append(bias.reshape(-1))
        start = end
    return torch.cat(parts)


class _Attention(nn.Module):
    """Stands where an encoder's self-attention stood: between the same projections."""

    def __init__(
        self, query: nn.Module, key: nn.Module, value: nn.Module, output: nn.Module, heads: int, scaling: float
    ) -> None:
        super().__init__()
        self.query, self.key, self.value, self.output = query, key, value, output
        self.heads, self.scaling = heads, scaling

    def forward(self, hidden: Tensor, layout: Tensor, bias: Tensor, **_: Any) -> tuple[Tensor]:
        """Return what the layer takes further, ``[1, T, hidden]``, of ``hidden`` of that shape."""
        query, key, value = (
            part(hidden).view(1, hidden.size(1), self.heads, -1).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        attended = packed_attention(query, key, value, layout, self.scaling, bias)
        return (self.output(attended.flatten(2)),)


class _Layers(nn.Module):
    """Stands where an encoder ran its layers: computes the bias once, and hands it to each."""

    def __init__(self, layers: nn.ModuleList, bias: nn.Embedding, bucket: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layers, self.bias = layers, bias
        self._bucket = bucket

    def forward(self, hidden: Tensor, attention_mask: Tensor, **_: Any) -> BaseModelOutput:
        """Return the last hidden state, ``[1, T, hidden]``; the layout comes in the mask's place."""
        bias = packed_bias(self.bias(self._bucket(distances(attention_mask))), attention_mask)
        for layer in self.layers:
            hidden = layer(hidden, attention_mask, bias)[0]
        return BaseModelOutput(last_hidden_state=hidden)


class _T5Attention(_Attention):
    """T5's: the first layer's computes the bias, and the encoder hands it to the others."""

    def __init__(self, own: Any, bucket: Callable[[Tensor], Tensor]) -> None:
        super().__init__(own.q, own.k, own.v, own.o, own.n_heads, own.scaling)
        #: None in the layers that are handed it.
        self.bias: Any = own.relative_attention_bias if own.has_relative_attention_bias else None
        self._bucket = bucket

    def forward(  # type: ignore[override]
        self, hidden: Tensor, mask: Tensor, position_bias: Tensor | None = None, **_: Any
    ) -> tuple[Tensor, Tensor, None]:
        """Return what the layer takes further, ``[1, T, hidden]``, and the bias; the layout is in the mask's place."""
        if position_bias is None:
            position_bias = packed_bias(self.bias(self._bucket(distances(mask))), mask)
        return (*super().forward(hidden, mask, position_bias), position_bias, None)


class _UMT5Attention(_T5Attention):
    """UMT5's: every layer has a bias of its own."""

    def forward(self, hidden: Tensor, attention_mask: Tensor, **_: Any) -> tuple[Tensor, None]:  # type: ignore[override]
        """Return what the layer takes further, ``[1, T, hidden]``; the layout comes in the mask's place."""
        return super().forward(hidden, attention_mask)[0], None


def _adapt_mpnet(model: Any) -> None:
    encoder = model.encoder
    for layer in encoder.layer:
        own = layer.attention.attn
        layer.attention.attn = _Attention(
            own.q, own.k, own.v, own.o, own.num_attention_heads, own.attention_head_size**-0.5
        )
    model.encoder = _Layers(encoder.layer, encoder.relative_attention_bias, encoder.relative_position_bucket)


def _adapt_t5(model: Any) -> None:
    for block in model.encoder.block:
        own = block.layer[0].SelfAttention
        sizes = {
            "num_buckets": own.relative_attention_num_buckets,
            "max_distance": own.relative_attention_max_distance,
        }
        block.layer[0].SelfAttention = _T5Attention(own, partial(own._relative_position_bucket, **sizes))


def _adapt_umt5(model: Any) -> None:
    for block in model.encoder.block:
        own = block.layer[0].SelfAttention
        block.layer[0].SelfAttention = _UMT5Attention(own, own._relative_position_bucket)


#: How to adapt an encoder in place, by its class.
ADAPTERS: dict[type[PreTrainedModel], Callable[[PreTrainedModel], None]] = {
    MPNetModel: _adapt_mpnet,
    T5EncoderModel: _adapt_t5,
    MT5EncoderModel: _adapt_t5,
    UMT5EncoderModel: _adapt_umt5,
}


def adapt(encoder: PreTrainedModel) -> bool:
    """Make an encoder with a bias on distances take a packed layout as its mask, in place.

    Returns:
        Whether it is one that is known here; else it is left as it is.
    """
    adapter = ADAPTERS.get(type(encoder))
    if adapter is None:
        return False
    adapter(encoder)
    return True
