"""What passes between the client's core and its transports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Response = Mapping[str, Array]
Configuration = Mapping[str, Any]


class Answer(NamedTuple):
    """A span of a context that answers a question.

    Attributes:
        answer: the span's text, ``context[start:end]``.
        score: probability that this is the answer, 0 to 1, among all spans of the context.
        start: where it begins, in characters.
        end: where it ends, in characters.
    """

    answer: str
    score: float
    start: int
    end: int


@dataclass(frozen=True)
class ModelInfo:
    """One set of models that a server serves, as it was described when it was exported.

    Attributes:
        name: what to give as ``model``.
        task: ``cola``, ``sts`` or ``qa``.
        languages: BCP 47 tags of the languages that it is for; empty where it was not said.
        dimension: numbers in an embedding; None for a task without embeddings.
        threshold: similarity from which two sentences are called similar; None where there is none.
        metrics: what it scored, by name.
    """

    name: str
    task: str
    languages: tuple[str, ...] = ()
    dimension: int | None = None
    threshold: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """One inference: a model, its input tensors by name, and the outputs wanted.

    Text tensors are object arrays of UTF-8 ``bytes``.
    """

    model: str
    inputs: Mapping[str, Array]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Timeout:
    """How long to wait, in seconds: for the connection, and for an answer on it."""

    connect: float = 5.0
    read: float = 30.0

    def __post_init__(self) -> None:
        """Refuse a timeout that would never or always strike."""
        if not (self.connect > 0 and self.read > 0):
            raise ValueError(f"timeouts must be positive seconds, got connect={self.connect}, read={self.read}")


class Transport(Protocol):
    """Carries requests to one server. Must be usable from many threads at once."""

    def infer(self, request: Request) -> Response:
        """Return the outputs by name; raise a TridentError."""

    def ready(self, models: tuple[str, ...]) -> bool:
        """Say whether the server and each of ``models`` answers inference; raise TransportError if it is away."""

    def index(self) -> list[str]:
        """Return the names of the models that are ready."""

    def configuration(self, model: str) -> Configuration:
        """Return a model's configuration as Triton's JSON has it."""

    def close(self) -> None:
        """Release connections."""


class AsyncTransport(Protocol):
    """The same for one event loop."""

    async def infer(self, request: Request) -> Response:
        """Return the outputs by name; raise a TridentError."""

    async def ready(self, models: tuple[str, ...]) -> bool:
        """Say whether the server and each of ``models`` answers inference; raise TransportError if it is away."""

    async def index(self) -> list[str]:
        """Return the names of the models that are ready."""

    async def configuration(self, model: str) -> Configuration:
        """Return a model's configuration as Triton's JSON has it."""

    async def close(self) -> None:
        """Release connections."""


def triton_type(array: Array) -> str:
    """Return the protocol's name of an array's type."""
    return {"object": "BYTES", "int32": "INT32", "float32": "FP32"}[array.dtype.name]


def text_column(texts: Sequence[bytes]) -> Array:
    """Return texts as a BYTES tensor ``[n, 1]``."""
    column = np.empty((len(texts), 1), dtype=np.object_)
    column[:, 0] = list(texts)
    return column
