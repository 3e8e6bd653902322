"""Padding-free encoders: one packed row of real tokens, with attention kept inside each sequence.

Linear layers, where the time goes, see ``[1, T]`` tokens and no padding. Sequences stand in the row in order of
length, so that attention works on a few groups of like length: a group of equal lengths is a mere view of the row, and
any other is padded to the longest of its group, for attention alone.

The layout travels to the attention function in the place of the attention mask, as one ``[1, 1, 1, N]`` int64 tensor
(transformers hands four-dimensional masks on untouched), so every encoder that uses transformers' attention interface
is served and no model is reimplemented.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_utils import AttentionInterface

ATTENTION = "trident_packed"


@torch.jit.script
def pack(flat_ids: Tensor, item_lengths: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Drop padding and lay sequences out by length.

    Args:
        flat_ids: token ids of all batch items one after the other, -1 where padded; int32 or int64 ``[sum(lengths)]``.
        item_lengths: each item's length, padding included; integers ``[n]``.

    Returns:
        tokens: int64 ``[T]``, without padding, shortest sequence first.
        sequence: the batch item each token belongs to; int64 ``[T]``.
        position: each token's place in its sequence, from 0; int64 ``[T]``.
        first: where each batch item's first token stands in ``tokens``; int64 ``[n]``.
        layout: what :func:`packed_attention` needs; int64 ``[1, 1, 1, 1 + 3 * groups + T]``: the number of groups, for
            each its number of tokens, of sequences and its longest length, then each token's slot in its padded group.
    """
    lengths = item_lengths.to(torch.int64)
    items = torch.repeat_interleave(torch.arange(lengths.size(0), device=lengths.device), lengths)
    kept = flat_ids >= 0
    items = items[kept]
    counts = torch.bincount(items, minlength=lengths.size(0))
    ranking = torch.argsort(counts, stable=True)
    rank = torch.empty_like(ranking)
    rank[ranking] = torch.arange(ranking.size(0), device=ranking.device)
    order = torch.argsort(rank[items], stable=True)
    tokens = flat_ids[kept].to(torch.int64)[order]
    sequence = items[order]
    sorted_counts = counts[ranking]
    starts = torch.cumsum(sorted_counts, 0) - sorted_counts
    first = starts[rank]
    position = torch.arange(tokens.size(0), device=tokens.device) - first[sequence]

    table: list[int] = []
    widths: list[int] = []
    sizes: list[int] = sorted_counts.tolist()
    group_tokens = 0
    group_size = 0
    shortest = 0
    longest = 0
    for size in sizes:
        # A group's padding stays below a quarter of it, or a few tokens where sequences are short.
        if group_size > 0 and size > shortest + max(4, shortest // 4):
            table += [group_tokens, group_size, longest]
            widths += [longest] * group_size
            group_tokens = 0
            group_size = 0
        if group_size == 0:
            shortest = size
        group_tokens += size
        group_size += 1
        longest = size
    table += [group_tokens, group_size, longest]
    widths += [longest] * group_size

    width = torch.tensor(widths, dtype=torch.int64, device=tokens.device)
    row_start = torch.cumsum(width, 0) - width
    header = torch.tensor([len(table) // 3] + table, dtype=torch.int64, device=tokens.device)
    # Slots count from the start of the token's own group.
    group_of_row: list[int] = []
    for group in range(len(table) // 3):
        group_of_row += [group] * table[3 * group + 1]
    group_index = torch.tensor(group_of_row, dtype=torch.int64, device=tokens.device)
    is_first = torch.ones_like(group_index, dtype=torch.bool)
    is_first[1:] = group_index[1:] != group_index[:-1]
    group_start = row_start[is_first][group_index]
    slot = (row_start - group_start)[rank[sequence]] + position
    return tokens, sequence, position, first, torch.cat([header, slot]).view(1, 1, 1, -1)


@torch.jit.script
def packed_attention(query: Tensor, key: Tensor, value: Tensor, layout: Tensor, scaling: float) -> Tensor:
    """Attend within each sequence of a packed row.

    Args:
        query, key, value: ``[1, heads, T, head_dim]``.
        layout: from :func:`pack`.
        scaling: factor on the products of queries and keys.

    Returns:
        ``[1, T, heads, head_dim]``.
    """
    flat = layout.view(-1)
    groups = int(flat[0].item())
    table: list[int] = flat[1 : 1 + 3 * groups].tolist()
    slots = flat[1 + 3 * groups :]
    heads, dim = query.size(1), query.size(3)
    # [T, heads, 3 * head_dim]: one gather and one scatter a group move queries, keys and values together.
    joined = torch.cat([query[0], key[0], value[0]], dim=-1).transpose(0, 1)
    outputs: list[Tensor] = []
    start = 0
    for group in range(groups):
        tokens, rows, longest = table[3 * group], table[3 * group + 1], table[3 * group + 2]
        part = joined[start : start + tokens]
        slot = slots[start : start + tokens]
        padded = tokens != rows * longest
        if padded:
            full = torch.zeros([rows * longest, heads, 3 * dim], dtype=part.dtype, device=part.device)
            full[slot] = part
            real = torch.zeros([rows * longest], dtype=torch.bool, device=part.device)
            real[slot] = True
            q, k, v = full.view(rows, longest, heads, 3 * dim).transpose(1, 2).split(dim, dim=-1)
            mask = real.view(rows, 1, 1, longest)
            attended = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling)
        else:
            q, k, v = part.reshape(rows, longest, heads, 3 * dim).transpose(1, 2).split(dim, dim=-1)
            attended = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=scaling)
        attended = attended.transpose(1, 2).reshape(rows * longest, heads, dim)
        outputs.append(attended[slot] if padded else attended)
        start += tokens
    return torch.cat(outputs).unsqueeze(0)


def _attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    return packed_attention(query, key, value, attention_mask, scaling or query.size(-1) ** -0.5), None


AttentionInterface.register(ATTENTION, _attention_forward)


class PackedEncoder(nn.Module):
    """A traced encoder that takes a packed row and its layout.

    Args:
        encoder: a Hugging Face encoder (``AutoModel``) whose attention goes through the attention interface. It is
            switched to packed attention for good.

    Raises:
        ValueError: the encoder computes its own positions or attention, so packing would answer wrongly.
    """

    def __init__(self, encoder: PreTrainedModel) -> None:
        super().__init__()
        takes = inspect.signature(encoder.forward).parameters
        if "position_ids" not in takes:
            raise ValueError(f"{type(encoder).__name__} takes no position_ids; it cannot be packed")
        if not encoder._supports_attention_backend and not encoder._supports_sdpa:
            raise ValueError(f"{type(encoder).__name__} does not use transformers' attention interface")
        encoder.set_attn_implementation(ATTENTION)
        self.encoder = encoder.eval()
        self.first_position = first_position(encoder)
        self.takes_token_types = "token_type_ids" in takes

    def forward(self, tokens: Tensor, position: Tensor, layout: Tensor) -> Tensor:
        """Return the last hidden state of a packed row, ``[T, hidden]``; arguments as :func:`pack` returns them."""
        inputs = {
            "input_ids": tokens.unsqueeze(0),
            "position_ids": position.unsqueeze(0) + self.first_position,
            "attention_mask": layout,
        }
        if self.takes_token_types:
            inputs["token_type_ids"] = torch.zeros_like(tokens).unsqueeze(0)
        return self.encoder(**inputs).last_hidden_state[0]


def first_position(encoder: PreTrainedModel) -> int:
    """Position id of a sequence's first token: after the padding index in RoBERTa's family, 0 elsewhere."""
    embeddings = getattr(encoder, "embeddings", None)
    position = getattr(embeddings, "position_embeddings", None)
    padding = getattr(position, "padding_idx", None)
    return 0 if padding is None else padding + 1


def trace_encoder(encoder: PreTrainedModel) -> torch.jit.ScriptModule:
    """Trace an encoder over a packed row of three sequences; the trace serves rows of any layout."""
    flat_ids = torch.tensor([5, 6, 7, 5, 6, -1, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17], dtype=torch.int32)
    tokens, _, position, _, layout = pack(flat_ids, torch.tensor([3, 3, 10]))
    with torch.inference_mode(False), torch.no_grad():
        return torch.jit.trace(PackedEncoder(encoder), (tokens, position, layout), check_trace=False)
