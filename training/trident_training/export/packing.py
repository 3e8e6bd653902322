"""Lays sequences of any lengths out as one row of real tokens, in the order that attention wants them.

Everything here is TorchScript: it runs inside the exported model, on the ragged batch that Triton hands over.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

#: Fills a request's shorter rows; no vocabulary holds it.
PADDING = -1
#: Stands between the two sequences of an item that holds a pair; no vocabulary holds it either.
PAIR = -2


class Packed(NamedTuple):
    """A ragged batch of ``n`` sequences as one row of ``T`` real tokens, the longest sequence first.

    Attributes:
        source: where each token stands in the flat input; int64 ``[T]``. It carries any other flat input into the row
            (``flat[source]``) and an answer a token back out (``answer[source] = row``).
        sequence: the batch item each token belongs to; int64 ``[T]``.
        position: each token's place in its sequence, from 0; int64 ``[T]``.
        first: where each sequence's first token stands in the row; int64 ``[n]``.
        counts: real tokens of each sequence; int64 ``[n]``.
        layout: what packed attention needs; int64 ``[1, 1, 1, 1 + 3 * groups + T]``: the number of groups, for each its
            tokens, rows and longest row, then each token's slot in its padded group.
    """

    source: Tensor
    sequence: Tensor
    position: Tensor
    first: Tensor
    counts: Tensor
    layout: Tensor


@torch.jit.script
def group_rows(sizes: list[int]) -> tuple[list[int], list[int]]:
    """Cut descending lengths into groups of like length, which attention then pads to their longest.

    A row joins its group while it is at most a quarter, or four tokens, shorter than the group's longest: padding stays
    small, and so does the number of groups, each of which costs a few operations.

    Args:
        sizes: lengths, the longest first.

    Returns:
        ``tokens, rows, longest`` of every group in turn, and each row's first slot in its own group.
    """
    table: list[int] = []
    starts: list[int] = []
    tokens = 0
    rows = 0
    longest = 0
    for size in sizes:
        if rows > 0 and size < longest - max(4, longest // 4):
            table += [tokens, rows, longest]
            tokens = 0
            rows = 0
        if rows == 0:
            longest = size
        starts.append(rows * longest)
        tokens += size
        rows += 1
    table += [tokens, rows, longest]
    return table, starts


@torch.jit.script
def split_pairs(flat_ids: Tensor, lengths: Tensor, mark: int = PAIR) -> tuple[Tensor, Tensor, Tensor]:
    """Find the sequences of items that hold one each, or two with a mark between them.

    Args:
        flat_ids: token ids of all items one after the other; integers ``[sum(lengths)]``.
        lengths: each item's length, padding and mark included; integers ``[n]``.
        mark: what stands between two sequences.

    Returns:
        Lengths of the ``m`` sequences one after the other, the mark counted with the second of a pair, as
        :func:`pack` takes them (int64 ``[m]``), and of each item its first and its last sequence (int64 ``[n]``): one
        and the same where there is no pair.
    """
    lengths = lengths.to(torch.int64)
    items = torch.repeat_interleave(torch.arange(lengths.size(0), device=lengths.device), lengths)
    marks = torch.nonzero(flat_ids == mark)[:, 0]
    marked = items[marks]
    starts = torch.cumsum(lengths, 0) - lengths
    # What follows a second mark belongs to the second sequence.
    before = lengths.scatter_reduce(0, marked, marks - starts[marked], "amin")
    paired = before < lengths
    last = torch.cumsum(paired.to(torch.int64) + 1, 0) - 1
    both = torch.stack([before, lengths - before], dim=1)
    there = torch.stack([torch.ones_like(paired), paired], dim=1)
    return both[there], last - paired.to(torch.int64), last


@torch.jit.script
def pack(flat_ids: Tensor, lengths: Tensor) -> Packed:
    """Drop padding and order sequences by length.

    Args:
        flat_ids: token ids of all batch items one after the other, :data:`PADDING` where padded; integers
            ``[sum(lengths)]``.
        lengths: each item's length, padding included; integers ``[n]``.
    """
    lengths = lengths.to(torch.int64)
    device = lengths.device
    items = torch.repeat_interleave(torch.arange(lengths.size(0), device=device), lengths)
    real = torch.nonzero(flat_ids >= 0)[:, 0]
    items = items[real]
    counts = torch.bincount(items, minlength=lengths.size(0))

    ranking = torch.argsort(counts, descending=True, stable=True)
    rank = torch.empty_like(ranking)
    rank[ranking] = torch.arange(ranking.size(0), device=device)
    order = torch.argsort(rank[items], stable=True)
    source = real[order]
    sequence = items[order]

    ranked_counts = counts[ranking]
    first = (torch.cumsum(ranked_counts, 0) - ranked_counts)[rank]
    position = torch.arange(source.size(0), device=device) - first[sequence]

    sizes: list[int] = ranked_counts.tolist()
    table, starts = group_rows(sizes)
    header = torch.tensor([len(table) // 3] + table, dtype=torch.int64, device=device)  # noqa: RUF005 - TorchScript
    slot = torch.tensor(starts, dtype=torch.int64, device=device)[rank[sequence]] + position
    return Packed(source, sequence, position, first, counts, torch.cat([header, slot]).view(1, 1, 1, -1))


@torch.jit.script
def first_tokens(hidden: Tensor, batch: Packed) -> Tensor:
    """Each sequence's first row of ``hidden [T, width]``: ``[n, width]``, zeros for a batch of padding alone."""
    if hidden.size(0) == 0:
        return torch.zeros([batch.first.size(0), hidden.size(1)], dtype=hidden.dtype, device=hidden.device)
    return hidden[batch.first.clamp(max=hidden.size(0) - 1)]


@torch.jit.script
def mean_tokens(hidden: Tensor, batch: Packed) -> Tensor:
    """Mean of each sequence's rows of ``hidden [T, width]``: float32 ``[n, width]``, zeros where there is no token."""
    sums = torch.zeros([batch.counts.size(0), hidden.size(1)], dtype=torch.float32, device=hidden.device)
    sums.index_add_(0, batch.sequence, hidden.to(torch.float32))
    return sums / batch.counts.clamp(min=1).unsqueeze(1)


@torch.jit.script
def max_tokens(hidden: Tensor, batch: Packed) -> Tensor:
    """Largest of each sequence's rows of ``hidden [T, width]``: float32 ``[n, width]``, zeros where there is none."""
    largest = torch.full(
        [batch.counts.size(0), hidden.size(1)], float("-inf"), dtype=torch.float32, device=hidden.device
    )
    largest.index_reduce_(0, batch.sequence, hidden.to(torch.float32), "amax")
    return largest.masked_fill((batch.counts == 0).unsqueeze(1), 0.0)
