"""Lays sequences of any lengths out as attention wants them, with hardly a slot free.

Everything here is TorchScript: it runs inside the exported model, on the ragged batch that Triton hands over.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from trident_training.checkpoints.positions import NO_LIMIT

#: Fills a request's shorter rows; no vocabulary holds it.
PADDING = -1
#: Stands between the two sequences of an item that holds a pair; no vocabulary holds it either.
PAIR = -2

#: Tokens of attention's shortest rows: several short sequences share one. Longer rows would be filled a little better,
#: and attention within them costs more; they are tried where many of these slots stay free, as where all are of 17.
ROW = 32
LONGER_ROWS = (36, 40, 48, 56)


class Packed(NamedTuple):
    """A ragged batch of ``n`` sequences of ``R`` real tokens, and how attention lays them out, the longest first.

    Attributes:
        source: where each token stands in the flat input; int64 ``[R]``. It brings any other flat input into this order
            (``flat[source]``) and an answer a token back (``answer[source] = tokens``).
        sequence: the batch item each token belongs to; int64 ``[R]``.
        position: each token's place in its sequence, from 0; int64 ``[R]``.
        first: where each sequence's first token stands in this order; int64 ``[n]``.
        counts: real tokens of each sequence; int64 ``[n]``.
        slot: where each token stands in the laid out row; int64 ``[R]``.
        layout: what packed attention needs; int64 ``[1, 1, 1, 1 + 3 * blocks + T]``: the number of blocks, for each its
            rows, their width and whether sequences share them or leave slots free (1) or not (0), then each slot's
            sequence, -1 where it is free. A block's rows follow one another, and so do the blocks; free slots follow
            the last one.
    """

    source: Tensor
    sequence: Tensor
    position: Tensor
    first: Tensor
    counts: Tensor
    slot: Tensor
    layout: Tensor


@torch.jit.script
def rounded(slots: int) -> int:
    """Return the number of slots to compute with: the next multiple of a 32nd to a 16th of it.

    oneDNN makes kernels for every shape and number of threads, and keeps a thousand, of half a megabyte each: with 16
    shapes in each power of two all are soon there, while batches of any number of tokens would never end to need more.
    """
    step = 1
    while 32 * step <= slots:
        step *= 2
    return (slots + step - 1) // step * step


@torch.jit.script
def lay_out(sizes: list[int], shortest: int = ROW) -> tuple[list[int], list[int], int]:
    """Lay sequences into rows of a few widths, so that attention needs neither scatter nor gather, and little is free.

    First fit, the longest first: a sequence goes into the first row that has room for it, whatever else is there. A new
    row is as wide as those before it while the sequence, or in rows of ``shortest`` all that is left, fills seven
    eighths of it; else as wide as the sequence, but no narrower than ``shortest`` where enough is left to fill that.

    Args:
        sizes: lengths, the longest first.
        shortest: width from which rows get no narrower.

    Returns:
        ``rows, width, shared`` of every block in turn; where each sequence starts; and the slots of all blocks,
        :func:`rounded`.

    Source: Johnson et al., Worst-case performance bounds for simple one-dimensional packing algorithms (1974).
    """
    left = 0
    for size in sizes:
        left += size
    smallest = sizes[-1] if len(sizes) > 0 else 0
    starts: list[int] = []
    # Of each row: the slot behind its last one, those that are free, and how many sequences it holds.
    ends: list[int] = []
    free: list[int] = []
    held: list[int] = []
    # Of each block: its width and the row behind its last one.
    widths: list[int] = []
    lasts: list[int] = []
    slots = 0
    # Rows before this one are too full for whatever may follow.
    candidate = 0
    for size in sizes:
        if size == 0:
            starts.append(0)
            continue
        while candidate < len(free) and (free[candidate] == 0 or free[candidate] < smallest):
            candidate += 1
        row = candidate
        while row < len(free) and free[row] < size:
            row += 1
        if row == len(free):
            most = left if len(widths) == 0 or widths[-1] <= shortest else size
            if len(widths) == 0 or most < widths[-1] - widths[-1] // 8:
                widths.append(max(size, min(shortest, left)))
                lasts.append(row)
            lasts[-1] = row + 1
            slots += widths[-1]
            ends.append(slots)
            free.append(widths[-1])
            held.append(0)
        starts.append(ends[row] - free[row])
        free[row] -= size
        held[row] += 1
        left -= size
    table: list[int] = []
    first = 0
    for block in range(len(widths)):
        shared = 0
        for row in range(first, lasts[block]):
            if held[row] > 1 or free[row] > 0:
                shared = 1
        table += [lasts[block] - first, widths[block], shared]
        first = lasts[block]
    return table, starts, rounded(slots)


@torch.jit.script
def lay_out_tightly(
    sizes: list[int], shortest: int = ROW, longer: tuple[int, int, int, int] = LONGER_ROWS
) -> tuple[list[int], list[int], int]:
    """Lay sequences out as :func:`lay_out` does, in longer rows where that leaves clearly fewer slots free.

    Args:
        sizes: lengths, the longest first.
        shortest: width from which rows get no narrower, where at least eight ninths of their slots are filled.
        longer: widths that are tried else, until a 16th of the slots at most is free; the best one stands.
    """
    tokens = 0
    for size in sizes:
        tokens += size
    best: tuple[list[int], list[int], int] = lay_out(sizes, shortest)
    if 8 * best[2] <= 9 * tokens:
        return best
    for width in longer:
        if 15 * best[2] > 16 * tokens:
            found = lay_out(sizes, width)
            if found[2] < best[2]:
                best = found
    return best


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
def token_types(flat_ids: Tensor, lengths: Tensor, mark: int = PAIR) -> Tensor:
    """Return the token types of items whose two texts are one sequence: 1 behind an item's mark, else 0.

    Args:
        flat_ids: token ids of all items one after the other; integers ``[sum(lengths)]``.
        lengths: each item's length, padding and mark included; integers ``[n]``.
        mark: what stands where the second text begins.

    Returns:
        int64 ``[sum(lengths)]``.
    """
    lengths = lengths.to(torch.int64)
    starts = torch.cumsum(lengths, 0) - lengths
    marks = (flat_ids == mark).to(torch.int64)
    seen = torch.cumsum(marks, 0)
    # What stands before an item is of no concern to it; an empty one at the end has no place.
    before = torch.cat([torch.zeros([1], dtype=torch.int64, device=seen.device), seen])[starts]
    return (seen - torch.repeat_interleave(before, lengths)).clamp(max=1)


@torch.jit.script
def pack(flat_ids: Tensor, lengths: Tensor, most: int = NO_LIMIT) -> Packed:
    """Drop padding and order sequences by length.

    Args:
        flat_ids: token ids of all batch items one after the other, :data:`PADDING` where padded; integers
            ``[sum(lengths)]``.
        lengths: each item's length, padding included; integers ``[n]``.
        most: tokens of a sequence behind which the rest is dropped as well.
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
    if len(sizes) > 0 and sizes[0] > most:
        kept = torch.nonzero(position < most)[:, 0]
        source, sequence, position = source[kept], sequence[kept], position[kept]
        counts, ranked_counts = counts.clamp(max=most), ranked_counts.clamp(max=most)
        first = (torch.cumsum(ranked_counts, 0) - ranked_counts)[rank]
        sizes = [min(size, most) for size in sizes]
    table, starts, slots = lay_out_tightly(sizes)
    header = torch.tensor([len(table) // 3] + table, dtype=torch.int64, device=device)  # noqa: RUF005 - TorchScript
    slot = torch.tensor(starts, dtype=torch.int64, device=device)[rank[sequence]] + position
    holder = torch.full([slots], -1, dtype=torch.int64, device=device).index_copy_(0, slot, sequence)
    layout = torch.cat([header, holder]).view(1, 1, 1, -1)
    return Packed(source, sequence, position, first, counts, slot, layout)


@torch.jit.script
def fill_slots(ids: Tensor, types: Tensor, batch: Packed) -> Tensor:
    """Bring packed ids and token types, int64 ``[R]`` each, into their slots.

    Returns:
        Ids, types and positions; int64 ``[3, T]``, zeros in free slots, which no token looks at.
    """
    slots = batch.layout.size(3) - 1 - 3 * int(batch.layout[0, 0, 0, 0].item())
    row = torch.zeros([3, slots], dtype=torch.int64, device=ids.device)
    return row.index_copy_(1, batch.slot, torch.stack([ids, types, batch.position]))


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
