"""The packed row: nothing real is lost, nothing padded is kept, and groups stay tight."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from trident_training.export.packing import PADDING, first_tokens, group_rows, max_tokens, mean_tokens, pack

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


@given(ITEMS)
def test_layout_gives_every_token_of_a_group_its_own_slot(items: list[tuple[int, int]]) -> None:
    batch = pack(*ragged(items))
    layout = batch.layout.flatten().tolist()
    groups, slots = layout[0], layout[1 + 3 * layout[0] :]
    start = 0
    for group in range(groups):
        tokens, rows, longest = layout[1 + 3 * group : 4 + 3 * group]
        own = slots[start : start + tokens]
        assert len(set(own)) == tokens
        assert all(0 <= slot < rows * longest for slot in own)
        start += tokens
    assert start == len(slots) == len(batch.source)


@given(st.lists(st.integers(0, 300), min_size=1, max_size=64))
def test_a_group_is_at_most_a_quarter_or_four_tokens_longer_than_its_shortest(sizes: list[int]) -> None:
    sizes = sorted(sizes, reverse=True)
    table, starts = group_rows(sizes)
    assert len(starts) == len(sizes)
    first = 0
    for tokens, rows, longest in zip(table[::3], table[1::3], table[2::3], strict=True):
        members = sizes[first : first + rows]
        assert tokens == sum(members)
        assert longest == members[0]
        assert members[-1] >= longest - max(4, longest // 4)
        assert starts[first : first + rows] == [row * longest for row in range(rows)]
        first += rows
    assert first == len(sizes)


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
