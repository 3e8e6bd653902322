"""The ensembles that a server or a repository has: what each is asked, in which steps it answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from trident_client import AsyncTridentClient, Request
from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident_bench import texts
from trident_bench.stand.errors import StandError

#: Different items that requests are made of, in turn.
ITEMS = 256

Item = Any
Ask = Callable[[AsyncTridentClient, str, Item], Awaitable[Any]]


@dataclass(frozen=True)
class Step:
    """One composing model of an ensemble.

    Attributes:
        model: its name.
        inputs: the ensemble's tensor that each of its inputs is.
        outputs: the ensemble's tensor that each of its outputs becomes.
    """

    model: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


@dataclass(frozen=True)
class Task:
    """What an ensemble is asked, through the client.

    Attributes:
        tensors: the ensemble's text inputs, in the order of an item's texts.
        output: an output that no other task's ensemble has.
        ask: asks one item.
        items: makes so many items; a text each, or a tuple of texts.
    """

    tensors: tuple[str, ...]
    output: str
    ask: Ask
    items: Callable[[int], Sequence[Item]]

    def inputs(self, item: Item) -> dict[str, Any]:
        """Return the tensors of an item."""
        parts = (item,) if isinstance(item, str) else item
        return {
            name: np.array([[text.encode()]], dtype=np.object_) for name, text in zip(self.tensors, parts, strict=True)
        }


@dataclass(frozen=True)
class Ensemble:
    """An ensemble whose steps run one after the other.

    Attributes:
        name: what a client asks for.
        task: what it is asked.
        steps: in their order.
    """

    name: str
    task: Task
    steps: tuple[Step, ...]

    @property
    def models(self) -> tuple[str, ...]:
        """Every model that a server needs for it."""
        return (self.name, *dict.fromkeys(step.model for step in self.steps))

    def items(self) -> Sequence[Item]:
        """Return what to ask it, the same every time."""
        return self.task.items(ITEMS)


def read(configurations: Iterable[tuple[str, ModelConfig]]) -> dict[str, Ensemble]:
    """Return those of the models, given by name, that are ensembles of a task that is known here."""
    found = {}
    for name, configuration in configurations:
        outputs = {each.name for each in configuration.output}
        task = next((each for each in TASKS if each.output in outputs), None)
        if configuration.HasField("ensemble_scheduling") and task is not None:
            steps = configuration.ensemble_scheduling.step
            found[name] = Ensemble(
                name, task, tuple(Step(each.model_name, dict(each.input_map), dict(each.output_map)) for each in steps)
            )
    return found


def choose(found: Mapping[str, Ensemble], names: Sequence[str]) -> list[Ensemble]:
    """Return the ensembles that are named.

    Raises:
        StandError: one is not there; names those that are.
    """
    for name in names:
        if name not in found:
            there = ", ".join(sorted(found)) or "none"
            raise StandError(f"There is no ensemble '{name}' (there are: {there}).")
    return [found[name] for name in dict.fromkeys(names)]


def sizes(tensors: Mapping[str, Any]) -> int:
    """Return the bytes of tensors as they are passed on; a text has its length before it, in four bytes."""
    return sum(
        sum(4 + len(text) for text in array.reshape(-1)) if array.dtype == np.object_ else int(array.nbytes)
        for array in tensors.values()
    )


async def walk(client: AsyncTridentClient, ensemble: Ensemble, item: Item) -> dict[str, tuple[int, int]]:
    """Ask an ensemble's models one after the other for what it would ask them; return the bytes into and out of each.

    An ensemble's optional inputs are left out.
    """
    at_hand = ensemble.task.inputs(item)
    found = {}
    for step in ensemble.steps:
        inputs = {name: at_hand[tensor] for name, tensor in step.inputs.items() if tensor in at_hand}
        outputs = await client.infer(Request(step.model, inputs, tuple(step.outputs)))
        at_hand |= {step.outputs[name]: array for name, array in outputs.items()}
        found[step.model] = (sizes(inputs), sizes(outputs))
    return found


def _nothing(cut: list[int]) -> None:
    """Texts may be longer than a model takes."""


def _acceptability(client: AsyncTridentClient, name: str, item: Item) -> Awaitable[Any]:
    return client.acceptability([item], model=name, on_truncation=_nothing)


def _embedding(client: AsyncTridentClient, name: str, item: Item) -> Awaitable[Any]:
    return client.embed([item], model=name.removesuffix("_embedding"), on_truncation=_nothing)


def _similarity(client: AsyncTridentClient, name: str, item: Item) -> Awaitable[Any]:
    return client.similarity([item], model=name, on_truncation=_nothing)


def _answer(client: AsyncTridentClient, name: str, item: Item) -> Awaitable[Any]:
    question, context = item
    return client.answer(question, context, model=name)


TASKS = (
    Task(("TEXT",), "PROBABILITY", _acceptability, texts.sentences),
    Task(("TEXT",), "EMBEDDING", _embedding, texts.sentences),
    Task(("SENTENCE_1", "SENTENCE_2"), "SIMILARITY", _similarity, texts.pairs),
    Task(("QUESTION", "CONTEXT"), "ANSWER", _answer, texts.questions),
)
