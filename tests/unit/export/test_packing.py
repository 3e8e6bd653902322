"""The laid out row: nothing real is lost, nothing padded is kept, and hardly a slot is free."""

import bisect
import itertools
import random
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from trident_training.export.packing import (
    PADDING,
    ROW,
    fill_slots,
    first_tokens,
    lay_out,
    lay_out_tightly,
    max_tokens,
    mean_tokens,
    pack,
    rounded,
)

# Real tokens and padding of each item.
ITEMS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5)), min_size=1, max_size=64)


def ragged(items: list[tuple[int, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Number the real tokens of all items through, from 1."""
    rows, start = [], 1
    for real, padding in items:
        rows += [torch.arange(start, start + real), torch.full((padding,), PADDING)]
        start += real
    return torch.cat(rows).to(torch.int32), torch.tensor([sum(item) for item in items], dtype=torch.int32)


@given(ITEMS)
def test_every_real_token_is_in_the_row_once_and_in_its_place(items: list[tuple[int, int]]) -> None:
    flat, lengths = ragged(items)
    batch = pack(flat, lengths)
    row = flat[batch.source]
    assert sorted(row.tolist()) == list(range(1, sum(real for real, _ in items) + 1))
    assert batch.counts.tolist() == [real for real, _ in items]
    for index, (real, _) in enumerate(items):
        mine = batch.sequence == index
        assert batch.position[mine].tolist() == list(range(real))
        # Tokens of one sequence stand together and in order.
        assert row[mine].tolist() == sorted(row[mine].tolist())
        if real:
            first = int(batch.first[index])
            assert batch.sequence[first : first + real].tolist() == [index] * real


@given(ITEMS, st.integers(1, 12))
def test_what_is_beyond_the_most_tokens_is_dropped_as_if_it_were_not_there(
    items: list[tuple[int, int]], most: int
) -> None:
    flat, lengths = ragged(items)
    batch = pack(flat, lengths, most)
    assert batch.counts.tolist() == [min(real, most) for real, _ in items]
    before = 0
    for index, (real, _) in enumerate(items):
        mine = batch.sequence == index
        assert flat[batch.source][mine].tolist() == list(range(before + 1, before + min(real, most) + 1))
        assert batch.position[mine].tolist() == list(range(min(real, most)))
        if real:
            assert batch.source[batch.first[index]] == batch.source[mine][0]
        before += real
    layout = batch.layout.flatten().tolist()
    holder = layout[1 + 3 * layout[0] :]
    assert [holder[slot] for slot in batch.slot.tolist()] == batch.sequence.tolist()
    assert (
        len(holder)
        == len(pack(*ragged([(min(real, most), 0) for real, _ in items])).layout.flatten()) - 1 - 3 * layout[0]
    )


@given(ITEMS)
def test_every_token_has_a_slot_of_its_own_in_a_row_of_its_sequence(items: list[tuple[int, int]]) -> None:
    batch = pack(*ragged(items))
    layout = batch.layout.flatten().tolist()
    blocks, holder = layout[0], layout[1 + 3 * layout[0] :]
    row_of = [
        (block, row)
        for block in range(blocks)
        for row in range(layout[1 + 3 * block])
        for _ in range(layout[2 + 3 * block])
    ]
    assert len(holder) == rounded(len(row_of))
    slots = batch.slot.tolist()
    assert len(set(slots)) == len(slots)
    assert [holder[slot] for slot in slots] == batch.sequence.tolist()
    assert sum(each >= 0 for each in holder) == len(slots)
    for index in range(len(items)):
        mine = batch.slot[batch.sequence == index].tolist()
        assert mine == list(range(mine[0], mine[0] + len(mine))) if mine else True
        assert len({row_of[slot] for slot in mine}) <= 1


@given(ITEMS)
def test_only_blocks_whose_rows_are_one_whole_sequence_each_go_without_a_mask(items: list[tuple[int, int]]) -> None:
    batch = pack(*ragged(items))
    layout = batch.layout.flatten().tolist()
    holder = layout[1 + 3 * layout[0] :]
    for rows, width, shared in zip(*[iter(layout[1 : 1 + 3 * layout[0]])] * 3, strict=True):
        held = [holder[row * width : (row + 1) * width] for row in range(rows)]
        assert shared == any(len(set(row)) > 1 or -1 in row for row in held)
        holder = holder[rows * width :]


@given(ITEMS)
def test_ids_types_and_positions_come_into_their_slots_and_free_slots_hold_zeros(items: list[tuple[int, int]]) -> None:
    flat, lengths = ragged(items)
    batch = pack(flat, lengths)
    ids = flat[batch.source].to(torch.int64)
    row = fill_slots(ids, ids + 1, batch)
    assert row[:, batch.slot].tolist() == [ids.tolist(), (ids + 1).tolist(), batch.position.tolist()]
    assert row.count_nonzero() == 2 * len(ids) + batch.position.count_nonzero()


@given(st.lists(st.integers(1, 512), min_size=1, max_size=1))
def test_a_lone_sequence_has_a_row_of_its_own(sizes: list[int]) -> None:
    assert lay_out(sizes) == ([1, *sizes, 0], [0], rounded(sizes[0]))


def test_slots_are_rounded_up_by_a_16th_at_most_to_few_numbers() -> None:
    found = [rounded(slots) for slots in range(1025)]
    assert all(slots <= each <= slots * 17 / 16 for slots, each in enumerate(found))
    assert found[:33] == list(range(33))
    assert len(set(found[33:])) == 16 * 5


@pytest.mark.parametrize(("shortest", "longest", "most"), [(20, 400, 0.1), (5, 40, 0.1), (5, 10, 0.1), (400, 512, 0.1)])
def test_less_than_a_tenth_of_the_slots_is_free_in_batches_of_mixed_lengths(
    shortest: int, longest: int, most: float
) -> None:
    rng = random.Random(1)
    sizes = [sorted((rng.randint(shortest, longest) for _ in range(64)), reverse=True) for _ in range(20)]
    free = [1 - sum(batch) / lay_out(batch)[2] for batch in sizes]
    assert sum(free) / len(free) < most


def test_short_sequences_share_rows_no_wider_than_they_need() -> None:
    assert lay_out([5, 4, 3])[0] == [1, 12, 1]
    assert lay_out([ROW] * 3)[0] == [3, ROW, 0]
    # What is left for the last row fills less than seven eighths of it.
    assert lay_out([20, 20, 12, 12, 10])[0] == [2, ROW, 1, 1, 10, 0]


@pytest.mark.parametrize("size", [*range(5, 40), 50, 90])
def test_sequences_of_one_length_leave_few_slots_free(size: int) -> None:
    table, starts, slots = lay_out_tightly([size] * 64)
    assert slots <= 1.18 * 64 * size
    layout = pack(*ragged([(size, 0)] * 64)).layout.flatten()
    assert layout.numel() == 1 + len(table) + slots, "batches are laid out otherwise"
    # Every sequence stands in one row, beside no other.
    widths = [width for rows, width in zip(table[::3], table[1::3], strict=True) for _ in range(rows)]
    ends = list(itertools.accumulate(widths))
    assert all(start + size <= ends[bisect.bisect(ends, start)] for start in starts)
    assert all(other - one >= size for one, other in itertools.pairwise(sorted(starts)))


def test_mean_first_and_largest_token_of_each_sequence_in_the_order_of_the_input() -> None:
    flat, lengths = ragged([(2, 1), (5, 0), (1, 3)])
    batch = pack(flat, lengths)
    hidden = flat[batch.source].to(torch.float32).unsqueeze(1).expand(-1, 3)
    assert mean_tokens(hidden, batch)[:, 0].tolist() == [1.5, 5.0, 8.0]
    assert first_tokens(hidden, batch)[:, 0].tolist() == [1.0, 3.0, 8.0]
    assert max_tokens(-hidden, batch)[:, 0].tolist() == [-1.0, -3.0, -8.0]


@pytest.mark.parametrize("length", [0, 4])
def test_padding_alone_is_an_empty_row(length: int) -> None:
    flat = torch.full((3 * length,), PADDING, dtype=torch.int32)
    batch = pack(flat, torch.full((3,), length, dtype=torch.int32))
    assert batch.source.numel() == 0
    assert mean_tokens(torch.zeros(0, 8), batch).tolist() == [[0.0] * 8] * 3
    assert first_tokens(torch.zeros(0, 8), batch).tolist() == [[0.0] * 8] * 3
    assert max_tokens(torch.zeros(0, 8), batch).tolist() == [[0.0] * 8] * 3


def test_the_page_draws_rows_as_they_are_laid_out() -> None:
    figure = (Path(__file__).resolve().parents[3] / "docs" / "figures" / "packing.svg").read_text("utf-8")
    told = re.search(r"<desc>Eight sequences of ([\d, ]+) and (\d+) tokens", figure)
    assert told is not None
    sizes = [*map(int, told[1].split(", ")), int(told[2])]
    blocks, _, slots = lay_out_tightly(sorted(sizes, reverse=True))
    # Rows, their width, and that sequences share them.
    assert blocks == [2, 32, 1, 1, 15, 1]
    assert f">{len(sizes) * max(sizes)} slots for {sum(sizes)} tokens<" in figure
    assert f">{slots} slots for {sum(sizes)} tokens; " in figure
