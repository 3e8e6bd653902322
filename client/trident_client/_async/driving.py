"""Generators that say what to do, and are told what came of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import TypeVar

Step = TypeVar("Step")
Reply = TypeVar("Reply")
Result = TypeVar("Result")


async def drive(steps: Generator[Step, Reply, Result], perform: Callable[[Step], Awaitable[Reply]]) -> Result:
    """Perform what the steps yield, throw into them what that raises, and return what they return."""
    try:
        step = next(steps)
        while True:
            try:
                reply = await perform(step)
            except BaseException as error:
                step = steps.throw(error)
            else:
                step = steps.send(reply)
    except StopIteration as end:
        result: Result = end.value
        return result
