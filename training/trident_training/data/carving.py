"""Splits off what a model is chosen by, so that rows which belong together are on one side."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from trident_training.data.problems import DataError

Group = TypeVar("Group", bound=Hashable)


def carve(
    rows: Sequence[dict[str, Any]],
    links: Sequence[tuple[str, str]],
    fraction: float,
    seed: int,
    *,
    source: str,
    accepted: str,
    small: int = 0,
    labels: Sequence[Hashable] = (),
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Split off whole groups of rows that share a text, one with another or by way of others.

    A group with which the rows would be farther from the fraction than without it stays, unless all of them would.

    Args:
        rows: to split.
        links: of each row, the two texts that it shares with others.
        fraction: of the rows, how much to split off; one row at least.
        seed: of the order in which groups are taken.
        source: what an error names.
        accepted: what an error says is accepted.
        small: groups of up to so many rows are taken first, and may overshoot.
        labels: of each row, what both sides should have some of, as :func:`on_both_sides` has it.

    Returns:
        What stays and what is split off, each in the rows' order.

    Raises:
        DataError: there are no two groups.
    """
    groups = _groups(links)
    if len(groups) < 2:
        raise DataError(f"{source}: no part of its {len(rows)} rows can be carved off to choose by; {accepted}")
    order = sorted(groups)
    random.Random(seed).shuffle(order)
    order.sort(key=lambda name: len(groups[name]) > small)
    wanted = max(1, round(len(rows) * fraction))
    names, taken = set[str](), 0
    for name in order:
        lacking = wanted - taken
        size = len(groups[name])
        # At most as far above what is wanted as without it below, and something is left to learn from.
        if lacking > 0 and size <= max(small, 2 * lacking) and taken + size < len(rows):
            names.add(name)
            taken += size
    if not names:
        names.add(min(order, key=lambda name: len(groups[name])))
    if labels:
        kinds = {name: {labels[row] for row in groups[name]} for name in order}
        names = on_both_sides(kinds, names, {name: len(groups[name]) for name in order})
    carved = {row for name in names for row in groups[name]}
    return (
        [row for index, row in enumerate(rows) if index not in carved],
        [row for index, row in enumerate(rows) if index in carved],
    )


def on_both_sides(
    kinds: Mapping[Group, Collection[Hashable]], carved: Collection[Group], sizes: Mapping[Group, int] | None = None
) -> set[Group]:
    """Return what is split off, with groups exchanged so that both sides have some of each kind.

    Nothing changes where they have. Of a kind that is on one side alone, the smallest group changes sides of those by
    which no other kind loses one. What there is but once is learned from, as far as others take its place.

    Args:
        kinds: of each group, in the order in which they are taken.
        carved: the groups that chance split off.
        sizes: of groups, in rows; all alike when None.
    """
    chosen = set(carved)
    holding: dict[Hashable, list[Group]] = {}
    for group, has in kinds.items():
        for kind in has:
            holding.setdefault(kind, []).append(group)
    split_off = Counter(kind for group in chosen for kind in kinds[group])

    def losses(group: Group) -> int:
        """Return how many kinds would have none where the group is, if it changed sides."""
        lost = 0
        for kind in kinds[group]:
            here = split_off[kind] if group in chosen else len(holding[kind]) - split_off[kind]
            # What there is but once is well placed among what stays.
            lost += here == 1 and not (group in chosen and len(holding[kind]) == 1)
        return lost

    def size_of(groups: Iterable[Group]) -> int:
        return sum(sizes[group] if sizes else 1 for group in groups)

    def cost(group: Group, lacking: int) -> tuple[int, bool, int, int]:
        """Return what is lost by a group that stays, whether it is far too large, and what is not gained by it."""
        gained = sum(not split_off[kind] and len(holding[kind]) > 1 for kind in kinds[group])
        size = size_of([group])
        return losses(group), size > 2 * lacking, -gained, size

    def change(group: Group) -> None:
        split_off.update(dict.fromkeys(kinds[group], -1 if group in chosen else 1))
        chosen.symmetric_difference_update({group})

    # The rarest first, of which there is the least choice.
    for kind in sorted(holding, key=lambda kind: (len(holding[kind]), str(kind))):
        groups = holding[kind]
        if 0 < split_off[kind] < len(groups) or (len(groups) == 1 and not split_off[kind]):
            continue
        best = min(groups, key=lambda group: (losses(group), size_of([group])))
        if split_off[kind] or not losses(best):
            change(best)
    # What was left to be learned from makes room for others, or, where there are none, for as little that is lost.
    lacking, found = size_of(carved) - size_of(chosen), True
    while found and lacking > 0:
        costs = [(cost(group, lacking), group) for group in kinds if group not in chosen]
        found = False
        for before, group in sorted(costs, key=lambda each: each[0]):
            # Until those before it have made it dearer; one that is far too large only where there is nothing else.
            now = cost(group, lacking)
            if lacking > 0 and len(chosen) + 1 < len(kinds) and now <= before and not (now[1] and chosen):
                change(group)
                lacking, found = lacking - size_of([group]), True
    return chosen


def _groups(links: Sequence[tuple[str, str]]) -> dict[str, list[int]]:
    """Return each group's rows by one of its texts."""
    parent: dict[str, str] = {}

    def root(text: str) -> str:
        while parent.setdefault(text, text) != text:
            parent[text] = text = parent[parent[text]]
        return text

    for first, second in links:
        parent[root(first)] = root(second)
    groups: dict[str, list[int]] = {}
    for index, (first, _) in enumerate(links):
        groups.setdefault(root(first), []).append(index)
    return groups
