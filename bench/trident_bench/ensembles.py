"""The ensembles that a server or a repository has, read from their configurations; and requests to each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from trident_client import AsyncTridentClient, Request, contract
from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident_bench import texts
from trident_bench.errors import BenchError

KOREAN = "ko"

#: The texts of a request, in the order of the ensemble's inputs.
Item = tuple[str, ...]


@dataclass(frozen=True)
class Ensemble:
    """An ensemble whose steps run one after the other.

    Attributes:
        name: that a client names.
        spec: its task's inputs and outputs.
        configurations: its own and its composing models', by name.
        languages: of its texts, from the configuration; empty where it has none.
    """

    name: str
    spec: contract.Ensemble
    configurations: Mapping[str, ModelConfig]
    languages: tuple[str, ...] = ()

    @property
    def scheduling(self) -> Sequence[Any]:
        """Its steps as Triton has them."""
        steps: Sequence[Any] = self.configurations[self.name].ensemble_scheduling.step
        return steps

    @property
    def steps(self) -> tuple[str, ...]:
        """Its composing models, in the order of the steps."""
        return tuple(dict.fromkeys(step.model_name for step in self.scheduling))

    @property
    def models(self) -> tuple[str, ...]:
        """Every model that a server needs for it."""
        return (self.name, *self.steps)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Those to request: the answer, without what comes beside it."""
        return tuple(each.tensor for each in self.spec.answers)

    def instances(self, model: str) -> int:
        """Return how many instances there are of a composing model."""
        groups = self.configurations[model].instance_group
        # A group on GPUs has its count of instances on each of them.
        return sum(max(group.count, 1) * max(len(group.gpus), 1) for group in groups) or 1

    def items(self, count: int = 256) -> list[Item]:
        """Return so many items, the same every time: texts, and a passage where there is a context."""
        if self.spec.required[-1].tensor == "CONTEXT":
            return [*texts.questions(count)]
        sentences = texts.korean_sentences if self.languages == (KOREAN,) else texts.sentences
        width = len(self.spec.required)
        texts_ = sentences(width * count)
        return [tuple(texts_[start : start + width]) for start in range(0, len(texts_), width)]

    def tensors(self, item: Item) -> dict[str, npt.NDArray[np.object_]]:
        """Return an item as input tensors, BYTES ``[1, 1]`` each."""
        return {
            each.tensor: np.array([[text.encode()]], dtype=np.object_)
            for each, text in zip(self.spec.required, item, strict=True)
        }

    def body(self, item: Item) -> dict[str, Any]:
        """Return a list of one item as the facade takes it."""
        columns = {each.column: text for each, text in zip(self.spec.required, item, strict=True)}
        entry = columns if len(item) > 1 else item[0]
        return {self.spec.list_key: [entry], "model": self.spec.set_of(self.name)}

    async def infer(self, client: AsyncTridentClient, item: Item) -> None:
        """Infer one item through the client."""
        await client.infer(Request(self.name, self.tensors(item), self.outputs))


def find_ensembles(configurations: Mapping[str, ModelConfig]) -> dict[str, Ensemble]:
    """Return those of the models that are ensembles of a task that is known, by name."""
    found = {}
    for name, configuration in configurations.items():
        spec = next((each for _, each in contract.ensembles() if _matches(each, configuration)), None)
        if configuration.HasField("ensemble_scheduling") and spec is not None:
            names = (name, *(step.model_name for step in configuration.ensemble_scheduling.step))
            # Of a task's two ensembles only the main one says its languages.
            main = configurations.get(spec.set_of(name), configuration)
            languages = (
                tuple(filter(None, each.parameters["languages"].string_value.split(",")))
                for each in (configuration, main)
                if "languages" in each.parameters
            )
            own = {each: configurations[each] for each in names if each in configurations}
            found[name] = Ensemble(name, spec, own, next(languages, ()))
    return found


def choose(found: Mapping[str, Ensemble], names: Sequence[str]) -> list[Ensemble]:
    """Return the ensembles that are named; all for no names.

    Raises:
        BenchError: one is not there, or none is.
    """
    there = ", ".join(sorted(found)) or "none"
    if not found and not names:
        raise BenchError("There is no ensemble that is ready and of a known task.")
    for name in names:
        if name not in found:
            raise BenchError(f"There is no ensemble '{name}' (there are: {there}).")
    return [found[name] for name in dict.fromkeys(names or found)]


def _matches(spec: contract.Ensemble, configuration: ModelConfig) -> bool:
    needed = {each.name for each in configuration.input if not each.optional}
    return needed == {each.tensor for each in spec.required} and spec.output.tensor in {
        each.name for each in configuration.output
    }
