"""What is carved off a train set."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trident_training.data.carving import carve, on_both_sides
from trident_training.data.problems import DataError


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12),
    st.floats(0.01, 0.5),
    st.integers(0, 20),
    st.integers(0, 3),
)
def test_both_sides_have_rows_and_share_no_text(links, fraction, seed, small):
    rows = [{"row": row} for row in range(len(links))]
    # The two sides of a link are texts of two kinds, as contexts and titles are.
    named = [(f"context {first}", f"title {second}") for first, second in links]
    try:
        sides = carve(rows, named, fraction, seed, source="a file", accepted="two groups are", small=small)
    except DataError:
        assert not links or _joined(named, named[0][0]) == {text for link in named for text in link}
        return
    assert all(sides)
    assert sorted(row["row"] for side in sides for row in side) == list(range(len(rows)))
    stays, carved = ({text for row in side for text in named[row["row"]]} for side in sides)
    assert not stays & carved


def _joined(links, text):
    """Return all texts that a text is linked with, the slow way."""
    found, before = {text}, set()
    while found != before:
        before = set(found)
        found |= {other for link in links if before & set(link) for other in link}
    return found


def test_what_cannot_be_parted_is_refused_with_what_is_accepted():
    with pytest.raises(DataError, match="a file: no part of its 2 rows can be carved off to choose by; two are"):
        carve([{}, {}], [("a", "b"), ("c", "b")], 0.1, 0, source="a file", accepted="two are")


@given(st.lists(st.integers(0, 4), min_size=2, max_size=30), st.floats(0.01, 0.5), st.integers(0, 20))
def test_each_label_is_on_both_sides_and_one_that_there_is_once_is_learned_from(labels, fraction, seed):
    rows = [{"label": label} for label in labels]
    links = [(f"text {row}", "") if row < 0 else (f"text {row}", f"text {row}") for row in range(len(rows))]
    stays, carved = carve(rows, links, fraction, seed, source="", accepted="", labels=labels)
    assert stays
    assert carved
    sides = [{row["label"] for row in side} for side in (stays, carved)]
    for label in labels:
        several = labels.count(label) > 1
        assert label in sides[0] or not several or len(set(labels)) == len(rows)
        assert label in sides[1] or not several


@given(st.lists(st.sets(st.integers(0, 3)), min_size=2, max_size=20), st.sets(st.integers(0, 19), min_size=1))
def test_nothing_changes_where_both_sides_have_some_of_each(kinds, carved):
    groups = dict(enumerate(kinds))
    carved &= set(groups)
    if not carved or len(carved) == len(groups):
        return
    found = on_both_sides(groups, carved)
    assert found
    assert found != set(groups)
    sides = [
        {kind for group in groups if (group in carved) is side for kind in groups[group]} for side in (True, False)
    ]
    if sides[0] == sides[1]:
        assert found == carved
