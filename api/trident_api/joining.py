"""Requests of a few items each, carried to Triton together."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from trident_client import BadInputError
from trident_client.contract import MAX_BATCH

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Of a call: as many as the models take in one batch.
MAX_ITEMS = MAX_BATCH
#: The encoder computes two batches at a time, and while one is answered and asked anew, it computes the other.
MAX_CALLS = 2


class Joiner(Generic[Item, Result]):
    """Joins the items of requests that come while others are with Triton into one call.

    Triton joins requests as well, but each one costs the facade, Triton and its Python models about as much as a
    sentence costs the encoder. What comes while no call is under way is carried at once. A second call starts when half
    as many requests wait as the first one carries: would it start with the first that comes, it would carry that alone.
    And none takes more than its half of all who are there: else what one carries is all that the other could, which
    then waits for it.

    Args:
        infer: carries some items to Triton and returns the result of each, in order.
    """

    def __init__(self, infer: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]]) -> None:
        self._infer = infer
        self._waiting: deque[_Pending[Item, Result]] = deque()
        # With how many requests each carries.
        self._calls: dict[asyncio.Task[None], int] = {}

    async def __call__(self, items: Sequence[Item]) -> Sequence[Result]:
        """Return the result of each item, in order.

        A call is given up when all who wait for it are cancelled.

        Raises:
            TridentError: the call failed, for all that were joined in it; a BadInputError only where carrying these
                items alone says so.
        """
        if not 0 < len(items) <= MAX_ITEMS:
            return await self._infer(items)
        pending = _Pending(items, asyncio.get_running_loop().create_future())
        self._waiting.append(pending)
        self._start_calls()
        try:
            return await pending.future
        except asyncio.CancelledError:
            if pending.call is not None and all(each.future.done() for each in pending.batch):
                pending.call.cancel()
            raise

    def _start_calls(self) -> None:
        while len(self._calls) < MAX_CALLS and len(self._waiting) >= math.ceil(
            min(self._calls.values(), default=1) / 2
        ):
            if batch := self._next_batch():
                call = asyncio.get_running_loop().create_task(self._answer(batch))
                self._calls[call] = len(batch)
                call.add_done_callback(self._call_ended)
                for each in batch:
                    each.batch, each.call = batch, call

    def _next_batch(self) -> list[_Pending[Item, Result]]:
        """Take those that wait, the first ones first, as many as fit into a call, and a call's share at most."""
        batch: list[_Pending[Item, Result]] = []
        capacity = MAX_ITEMS
        share = math.ceil((len(self._waiting) + sum(self._calls.values())) / MAX_CALLS)
        while self._waiting and len(batch) < share and len(self._waiting[0].items) <= capacity:
            each = self._waiting.popleft()
            if not each.future.done():
                batch.append(each)
                capacity -= len(each.items)
        return batch

    def _call_ended(self, call: asyncio.Task[None]) -> None:
        del self._calls[call]
        self._start_calls()

    async def _answer(self, batch: Sequence[_Pending[Item, Result]]) -> None:
        try:
            results = iter(await self._infer([item for each in batch for item in each.items]))
            for each in batch:
                result = list(islice(results, len(each.items)))
                if not each.future.done():
                    each.future.set_result(result)
        except Exception as error:
            if isinstance(error, BadInputError) and len(batch) > 1:
                await asyncio.gather(*(self._answer([each]) for each in batch))
            for each in batch:
                if not each.future.done():
                    each.future.set_exception(error)
        finally:
            # A call that was cancelled from below leaves nobody waiting.
            for each in batch:
                each.future.cancel()


@dataclass(eq=False)
class _Pending(Generic[Item, Result]):
    """Items, the promise of their results, and the call that they are in, beside others, once there is one."""

    items: Sequence[Item]
    future: asyncio.Future[Sequence[Result]]
    batch: Sequence[_Pending[Item, Result]] = ()
    call: asyncio.Task[None] | None = None
