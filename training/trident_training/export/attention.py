"""Attention over a laid out row of sequences, registered with transformers, so that no model is reimplemented.

The layout travels in the attention mask's place: transformers hands four-dimensional masks on untouched, so every
encoder that uses its attention interface is served.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import AttentionInterface

#: The name to give ``set_attn_implementation``.
PACKED_ATTENTION = "trident_packed"


@torch.jit.script
def packed_attention(
    query: Tensor, key: Tensor, value: Tensor, layout: Tensor, scaling: float, bias: Tensor | None = None
) -> Tensor:
    """Attend within each sequence of a laid out row, one block of rows of one width at a time.

    Args:
        query: ``[1, heads, T, head_dim]``.
        key: as ``query``.
        value: as ``query``.
        layout: :attr:`trident_training.export.packing.Packed.layout`.
        scaling: factor on the products of queries and keys.
        bias: what is added to the products, as :func:`trident_training.export.relative.packed_bias` has it.

    Returns:
        ``[1, T, heads, head_dim]``; what stands in free slots means nothing.
    """
    flat = layout.view(-1)
    blocks = int(flat[0].item())
    table: list[int] = flat[1 : 1 + 3 * blocks].tolist()
    holder = flat[1 + 3 * blocks :]
    heads, dim = query.size(1), query.size(3)
    outputs: list[Tensor] = []
    start = 0
    place = 0
    for block in range(blocks):
        rows, width, shared = table[3 * block], table[3 * block + 1], table[3 * block + 2]
        end = start + rows * width
        # Views alone: a block's slots follow one another.
        q = query[0, :, start:end].view(heads, rows, width, dim).transpose(0, 1)
        k = key[0, :, start:end].view(heads, rows, width, dim).transpose(0, 1)
        v = value[0, :, start:end].view(heads, rows, width, dim).transpose(0, 1)
        mask: Tensor | None = None
        if bias is not None:
            size = heads * width * width * (rows if shared == 1 else 1)
            mask = bias[place : place + size].view(-1, heads, width, width)
            place += size
        elif shared == 1:
            held = holder[start:end].view(rows, 1, width)
            # Free slots look at one another, for a softmax over nothing is NaN.
            mask = (held.transpose(1, 2) == held).unsqueeze(1)
        part = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling)
        outputs.append(part.transpose(1, 2).reshape(rows * width, heads, dim))
        start = end
    # Behind the last block.
    outputs.append(torch.zeros([query.size(2) - start, heads, dim], dtype=query.dtype, device=query.device))
    return torch.cat(outputs).unsqueeze(0)


def _forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    scaling = query.size(-1) ** -0.5 if scaling is None else scaling
    return packed_attention(query, key, value, attention_mask, scaling), None


AttentionInterface.register(PACKED_ATTENTION, _forward)
