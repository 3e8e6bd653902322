"""Lists and streams of any length, cut into batches."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable

from trident_client._async.concurrency import iterate
from trident_client._batches import Batch, Item


async def batches(items: Iterable[Item] | AsyncIterable[Item], size: int) -> AsyncIterator[Batch[Item]]:
    """Cut items into batches, reading no further ahead than one."""
    start, taken = 0, list[Item]()
    async for item in iterate(items):
        taken.append(item)
        if len(taken) == size:
            yield Batch(start, taken)
            start, taken = start + size, []
    if taken:
        yield Batch(start, taken)
