"""A batch of a list or a stream as requests, and what became of its items.

A batch with an item that the model does not take is refused as a whole by the server; it is halved until the item is
found, so that the others are answered and the error names the right one.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from trident_client._tasks import Task
from trident_client._types import Request, Response
from trident_client.errors import BadInputError

Item = TypeVar("Item")
#: The input of ensembles that an older export has not.
TRUNCATE_LEFT = "TRUNCATE_LEFT"


@dataclass(frozen=True)
class Batch(Generic[Item]):
    """Items that stand in the list from ``start``, and their request where it was made already."""

    start: int
    items: Sequence[Item]
    request: Request | None = None


@dataclass(frozen=True)
class BatchResult:
    """What became of items from ``start``: a value each, and the places of those not taken, cut or not read in full.

    Where tokens are counted there is a number of them for each too, 0 for one that was not taken.
    """

    start: int
    values: Sequence[Any]
    bad: dict[int, BadInputError]
    truncated: list[int]
    unknown: list[int]
    token_counts: list[int]


def steps(
    task: Task[Any, Any, Any], batch: Batch[Any], *, keep_going: bool, halved: bool = False
) -> Generator[Request, Response, BatchResult]:
    """Yield requests and take their responses, or have the error thrown that came instead; return what became of all.

    Args:
        task: makes requests and reads responses.
        batch: items of it.
        keep_going: whether the others are wanted where an item is bad.
        halved: whether these are a part of a batch that was refused.

    Raises:
        BadInputError: an item is not one the model takes, and ``keep_going`` was not asked for.
    """
    try:
        request = batch.request or task.request(batch.items, batch.start)
        response = yield request
    except BadInputError as error:
        # No item's fault: Triton names the input that the ensemble does not have.
        if error.server is not None and TRUNCATE_LEFT in request.inputs and TRUNCATE_LEFT in error.message:
            reason = f"must be right or error, got 'left': {task.model} was exported before it took it; export it again"
            raise BadInputError(f"truncate {reason}", task.model, field="truncate", reason=reason) from error
        if len(batch.items) == 1:
            if error.server is not None and (halved or batch.start > 0):
                # The server counts in the request.
                error.reason = error.message
                error.args = (f"{task.items}[{batch.start}]: {error.message}",)
            error.index = batch.start
            if keep_going:
                return BatchResult(batch.start, [task.missing], {batch.start: error}, [], [], [0])
            raise
        half = len(batch.items) // 2
        lower, upper = Batch(batch.start, batch.items[:half]), Batch(batch.start + half, batch.items[half:])
        first = yield from steps(task, lower, keep_going=keep_going, halved=True)
        second = yield from steps(task, upper, keep_going=keep_going, halved=True)
        return BatchResult(
            batch.start,
            [*first.values, *second.values],
            first.bad | second.bad,
            first.truncated + second.truncated,
            first.unknown + second.unknown,
            first.token_counts + second.token_counts,
        )
    truncated = [batch.start + place for place in task.truncated(response)]
    unknown = [batch.start + place for place in task.unknown(response)]
    values, counts, bad = task.values(response), task.token_counts(response), {}
    if task.refuses_truncated and truncated:
        bad = {index: _too_long(task, index) for index in truncated}
        if not keep_going:
            raise bad[truncated[0]]
        values = [task.missing if index in bad else value for index, value in enumerate(values, batch.start)]
        counts = [0 if index in bad else count for index, count in enumerate(counts, batch.start)]
        truncated = []
    return BatchResult(batch.start, values, bad, truncated, unknown, counts)


def _too_long(task: Task[Any, Any, Any], index: int) -> BadInputError:
    reason = "is longer than the model takes, and truncate is 'error'"
    return BadInputError(f"{task.items}[{index}] {reason}", task.model, index=index, reason=reason)
