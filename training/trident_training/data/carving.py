"""Splits off what a model is chosen by, so that rows which belong together are on one side."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from trident_training.data.problems import DataError


def carve(
    rows: Sequence[dict[str, Any]],
    links: Sequence[tuple[str, str]],
    fraction: float,
    seed: int,
    *,
    source: str,
    accepted: str,
    small: int = 0,
    labels: Sequence[int] = (),
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
        labels: of each row, what both sides should have some of: of a label that is on one side alone, its smallest
            group changes sides, where it has two.

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
    carved: set[int] = set()
    for name in order:
        lacking = wanted - len(carved)
        size = len(groups[name])
        # At most as far above what is wanted as without it below, and something is left to learn from.
        if lacking > 0 and size <= max(small, 2 * lacking) and len(carved) + size < len(rows):
            carved.update(groups[name])
    if not carved:
        smallest = min((groups[name] for name in order), key=len)
        carved.update(smallest)
    for label in sorted(set(labels)):
        holding = sorted((groups[name] for name in order if any(labels[row] == label for row in groups[name])), key=len)
        sides = {carved.issuperset(group) for group in holding}
        if len(holding) > 1 and len(sides) == 1:
            carved.symmetric_difference_update(holding[0])
    return (
        [row for index, row in enumerate(rows) if index not in carved],
        [row for index, row in enumerate(rows) if index in carved],
    )


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
