"""What Triton serves, as it says so itself, asked again from time to time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from trident_client import AsyncTridentClient, BadInputError, ModelInfo, contract

#: Seconds for which an answer counts; a model that it does not name is asked for again after the shorter time.
MAX_AGE, MAX_AGE_UNKNOWN = 30.0, 1.0


class UnknownModelError(BadInputError):
    """No set of models of the name is served for the task; the message names those that are."""


class Catalogue:
    """The sets of models by name.

    Args:
        client: asks Triton.
    """

    def __init__(self, client: AsyncTridentClient) -> None:
        self._client = client
        self._models: Mapping[str, ModelInfo] = {}
        self._fetched_at = -MAX_AGE
        self._fetch: asyncio.Task[list[ModelInfo]] | None = None

    async def models(self) -> list[ModelInfo]:
        """Ask Triton for all sets of models."""
        models = await self._client.models()
        self._models, self._fetched_at = {model.name: model for model in models}, time.monotonic()
        return models

    async def find(self, name: str | None, *tasks: str) -> ModelInfo:
        """Return the set of models of a task, or of one of several.

        Args:
            name: of the set; where None, that of the first task whose own set is served, or else of the last one.
            tasks: which it may be for.

        Raises:
            UnknownModelError: no such set is served for the tasks; those that are, are named.
        """
        if name is None:
            await self._refresh(tasks[-1])
            name = next((task for task in tasks if task in self._models), tasks[-1])
        else:
            await self._refresh(name)
        model = self._models.get(name)
        if model is not None and model.task in tasks:
            return model
        made = [task for task in tasks if contract.TASKS[task].like is not None]
        # The task's own set is served even where nobody described it; if it is not, the request itself will say so.
        if name in tasks and model is None and name not in made:
            return ModelInfo(name, name)
        own = {task for task in tasks if task not in made}
        served = sorted({each.name for each in self._models.values() if each.task in tasks} | own)
        accepted = f"accepted are {', '.join(served)}" if served else "none is"
        how = "".join(f"; `trident-train finetune {each}` and `export {each}` make one" for each in made)
        raise UnknownModelError(f"model '{name}' is not served for {' or '.join(tasks)}; {accepted}{how}", name)

    async def _refresh(self, name: str) -> None:
        """Ask Triton again where what is known is old, or does not name a set."""
        age = time.monotonic() - self._fetched_at
        if age >= MAX_AGE or (name not in self._models and age >= MAX_AGE_UNKNOWN):
            # Requests that come together share one question, and its failure; who gives up does not end it.
            if self._fetch is None or self._fetch.done():
                self._fetch = asyncio.create_task(self.models())
                # Nobody may be there any more to hear of its failure.
                self._fetch.add_done_callback(lambda fetch: fetch.cancelled() or fetch.exception())
            await asyncio.shield(self._fetch)
