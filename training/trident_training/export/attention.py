"""Attention over a packed row, registered with transformers, so that no model is reimplemented.

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
def packed_attention(query: Tensor, key: Tensor, value: Tensor, layout: Tensor, scaling: float) -> Tensor:
    """Attend within each sequence of a packed row, one group of like lengths at a time.

    Args:
        query: ``[1, heads, T, head_dim]``.
        key: as ``query``.
        value: as ``query``.
        layout: :attr:`trident_training.export.packing.Packed.layout`.
        scaling: factor on the products of queries and keys.

    Returns:
        ``[1, T, heads, head_dim]``.
    """
    flat = layout.view(-1)
    groups = int(flat[0].item())
    table: list[int] = flat[1 : 1 + 3 * groups].tolist()
    slots = flat[1 + 3 * groups :]
    heads, dim = query.size(1), query.size(3)
    # Joined, one scatter and one gather a group move queries, keys and values together.
    joined = torch.cat([query[0], key[0], value[0]], dim=-1).transpose(0, 1)
    outputs: list[Tensor] = []
    start = 0
    for group in range(groups):
        tokens, rows, longest = table[3 * group], table[3 * group + 1], table[3 * group + 2]
        part = joined[start : start + tokens]
        slot = slots[start : start + tokens]
        start += tokens
        padded = tokens < rows * longest
        mask: Tensor | None = None
        if padded:
            part = torch.zeros([rows * longest, heads, 3 * dim], dtype=part.dtype, device=part.device).index_copy_(
                0, slot, part
            )
            real = torch.zeros([rows * longest], dtype=torch.bool, device=part.device).index_fill_(0, slot, True)
            mask = real.view(rows, 1, 1, longest)
        if tokens > 0:
            q, k, v = part.reshape(rows, longest, heads, 3 * dim).transpose(1, 2).split(dim, dim=-1)
            part = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling)
            part = part.transpose(1, 2).reshape(rows * longest, heads, dim)
            outputs.append(part.index_select(0, slot) if padded else part)
    if len(outputs) == 0:
        return torch.zeros([1, 0, heads, dim], dtype=query.dtype, device=query.device)
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
