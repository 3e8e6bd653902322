# Made from ../_async/batches.py by scripts/unasync.py: change that, not this.
"""Lists and streams of any length, cut into batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from trident_client._batches import Batch, Item
from trident_client._sync.concurrency import iterate


def batches(items: Iterable[Item], size: int) -> Iterator[Batch[Item]]:
    """Cut items into batches, reading no further ahead than one."""
    start, taken = 0, list[Item]()
    for item in iterate(items):
        taken.append(item)
        if len(taken) == size:
            yield Batch(start, taken)
            start, taken = start + size, []
    if taken:
        yield Batch(start, taken)
