"""Sets of models that let requests run out of time: Triton calls one ready that never ends an execution."""

from __future__ import annotations

import asyncio
from functools import partial

from trident_client import AsyncTridentClient, TridentError, contract

#: Seconds that who asks for health waits for the answer of one that is suspected; probes have little patience.
PATIENCE = 1.0
#: What each task takes for a text.
TEXT = "Where is it?"


class HangDetector:
    """Suspects a set of which a request ended at its deadline, and that has answered nothing since it began.

    It is asked something tiny, when somebody asks for health, and is suspected until it answers that or others.

    Args:
        client: asks them.
    """

    def __init__(self, client: AsyncTridentClient) -> None:
        self._client = client
        self._answered: dict[str, float] = {}
        #: By name, with what each can be asked.
        self._suspected: dict[str, contract.Ensemble] = {}
        self._questions: dict[str, asyncio.Task[None]] = {}

    def answered(self, model: str) -> None:
        """Note an answer."""
        self._answered[model] = asyncio.get_running_loop().time()
        self._suspected.pop(model, None)

    def late(self, model: str, ensemble: contract.Ensemble, began: float) -> None:
        """Note that a request, which began at that time of the event loop, was not answered in time."""
        if self._answered.get(model, 0.0) < began:
            self._suspected[model] = ensemble

    async def hanging(self) -> str | None:
        """Return one that does not answer, or None."""
        for model, ensemble in self._suspected.items():
            if model not in self._questions:
                question = asyncio.create_task(self._ask(model, ensemble))
                self._questions[model] = question
                question.add_done_callback(partial(self._forget, model))
        if self._suspected and self._questions:
            await asyncio.wait(self._questions.values(), timeout=PATIENCE)
        return next(iter(self._suspected), None)

    def _forget(self, model: str, question: asyncio.Task[None]) -> None:
        del self._questions[model]

    async def _ask(self, model: str, ensemble: contract.Ensemble) -> None:
        texts = tuple(TEXT for _ in ensemble.required)
        item = texts if len(texts) > 1 else TEXT
        try:
            await self._client.predict(
                ensemble.name, [item], model=model, on_truncation=lambda _: None, on_unknown=lambda _: None
            )
        except TridentError:
            # It is asked again when somebody asks for health.
            return
        self.answered(model)
