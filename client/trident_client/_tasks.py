"""Each task: the request that some of its items make, and what the response says of each. No input or output here.

A task is all that the synchronous and the asynchronous client share, and all that they need.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from trident_client._types import Answer, Array, Request, Response, text_column
from trident_client.errors import BadInputError, TruncationWarning

# The ensembles' max_batch_size.
MAX_BATCH = 64
# The tokenizers' limit for one text.
MOST_BYTES = 1_000_000
# What the tensors of numbers can hold; the server's own limits are lower.
MOST_NUMBER = 2**31 - 1

OnTruncation = Callable[[list[int]], None]
OnTokenCounts = Callable[[list[int]], None]
OnBadItem = Callable[[int, BadInputError], None]
Values = npt.NDArray[np.float32]
Items = TypeVar("Items")
Item = TypeVar("Item", contravariant=True)
Value = TypeVar("Value", covariant=True)
Result = TypeVar("Result", covariant=True)


class Task(Protocol, Generic[Item, Value, Result]):
    """What a client does with a list of items.

    Attributes:
        items: what the items are called in messages.
        batch: how many items a request takes.
        missing: stands in the place of an item that the model does not take.
    """

    @property
    def items(self) -> str:
        """Plural name of the items."""

    @property
    def batch(self) -> int:
        """Most items of a request."""

    @property
    def missing(self) -> Value:
        """Value of an item that was not taken."""

    def request(self, items: Sequence[Item], start: int) -> Request:
        """Return the request for items that stand in the list from ``start``; raise BadInputError naming one."""

    def values(self, response: Response) -> Sequence[Any]:
        """Return each item's value, as the array or list they came in."""

    def single(self, value: Any) -> Value:
        """Return one of them as the stream form yields it."""

    def truncated(self, response: Response) -> list[int]:
        """Return which items, counted from 0 in the request, were longer than the model takes."""

    def token_counts(self, response: Response) -> list[int]:
        """Return how many tokens of each item the model read; nothing where that was not asked for."""

    def join(self, parts: list[Any]) -> Result:
        """Return the values of consecutive requests as what the list form returns."""


def warn_of_truncation(cut: list[int]) -> None:
    """Warn which items were longer than the encoder takes."""
    shown = ", ".join(map(str, cut[:10])) + (", ..." if len(cut) > 10 else "")
    warnings.warn(
        f"{len(cut)} item(s) were longer than the encoder takes and their ends were ignored: {shown}",
        TruncationWarning,
        stacklevel=4,
    )


class _Tensor:
    """What the tasks share that answer with one tensor, and say what was cut with others."""

    batch = MAX_BATCH
    output: str
    truncations: tuple[str, ...]
    counts: tuple[str, ...] = ()

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.output, *self.truncations, *self.counts)

    def truncated(self, response: Response) -> list[int]:
        cut: Any = sum((response[name] for name in self.truncations), 0)
        return [int(place) for place in np.flatnonzero(cut)]

    def token_counts(self, response: Response) -> list[int]:
        return [int(count) for name in self.counts for count in response[name][:, 0]]


class _Numbers(_Tensor):
    """One float32 an item."""

    missing = float("nan")

    def values(self, response: Response) -> Any:
        return response[self.output][:, 0]

    def single(self, value: Any) -> float:
        return float(value)

    def join(self, parts: list[Any]) -> Values:
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.float32)


class Acceptability(_Numbers):
    """Sentences to probabilities that they are acceptable: float32 ``[n]``, 0..1."""

    items = "sentences"
    output, truncations = "PROBABILITY", ("TRUNCATED_TOKENS",)

    def __init__(self, model: str = "cola") -> None:
        self.model = model

    def request(self, items: Sequence[str], start: int) -> Request:
        """Return the request for some sentences."""
        return Request(self.model, {"TEXT": text_column(_encode(items, self.items, start, self.model))}, self.outputs)


class Embedding(_Tensor):
    """Texts to embeddings: float32 ``[n, dim]``, unit norm; tokens are counted where that is asked for."""

    items = "texts"
    output, truncations = "EMBEDDING", ("TRUNCATED_TOKENS",)
    missing: Values = np.empty(0, dtype=np.float32)

    def __init__(self, model: str = "sts", *, count_tokens: bool = False) -> None:
        self.model = embedding_model(model)
        self.counts = ("TOKEN_COUNT",) if count_tokens else ()

    def request(self, items: Sequence[str], start: int) -> Request:
        """Return the request for some texts."""
        return Request(self.model, {"TEXT": text_column(_encode(items, self.items, start, self.model))}, self.outputs)

    def values(self, response: Response) -> Any:
        """Return each text's row."""
        return response[self.output]

    def single(self, value: Any) -> Values:
        """Return one row."""
        row: Values = value
        return row

    def join(self, parts: list[Any]) -> Values:
        """Return one matrix."""
        return np.concatenate(parts) if parts else np.empty((0, 0), dtype=np.float32)


class Similarity(_Numbers):
    """Pairs of sentences to similarities: float32 ``[n]``, cosines in -1..1."""

    items = "pairs"
    output, truncations = "SIMILARITY", ("TRUNCATED_TOKENS_1", "TRUNCATED_TOKENS_2")

    def __init__(self, model: str = "sts") -> None:
        self.model = model

    def request(self, items: Sequence[tuple[str, str]], start: int) -> Request:
        """Return the request for some pairs."""
        _check_pairs(items, self.items, "two sentences", start, self.model)
        columns = {
            "SENTENCE_1": text_column(_encode((first for first, _ in items), "first sentences", start, self.model)),
            "SENTENCE_2": text_column(_encode((second for _, second in items), "second sentences", start, self.model)),
        }
        return Request(self.model, columns, self.outputs)


class Answers:
    """Questions, each with its context, to their likeliest spans, the best first.

    Raises:
        BadInputError: a number is not one that a tensor can hold.
    """

    items = "questions"
    batch = 1
    outputs = ("ANSWER", "SCORE", "START", "END")

    def __init__(self, model: str = "qa", top_k: int = 1, max_answer_tokens: int | None = None) -> None:
        self.model = model
        self._numbers = {"TOP_K": _number(top_k, "top_k", model)}
        if max_answer_tokens is not None:
            self._numbers["MAX_ANSWER_TOKENS"] = _number(max_answer_tokens, "max_answer_tokens", model)

    @property
    def missing(self) -> list[Answer]:
        """Return no answers."""
        return []

    def request(self, items: Sequence[tuple[str, str]], start: int) -> Request:
        """Return the request for one question."""
        _check_pairs(items, self.items, "a question and its context", start, self.model)
        asked = {
            "QUESTION": text_column(_encode((question for question, _ in items), "questions", start, self.model)),
            "CONTEXT": text_column(_encode((context for _, context in items), "contexts", start, self.model)),
        }
        return Request(self.model, asked | self._numbers, self.outputs)

    def values(self, response: Response) -> list[list[Answer]]:
        """Return each question's spans."""
        rows = zip(*(response[name] for name in self.outputs), strict=True)
        return [
            [
                Answer(text.decode(), float(score), int(start), int(end))
                for text, score, start, end in zip(*row, strict=True)
            ]
            for row in rows
        ]

    def single(self, value: Any) -> list[Answer]:
        """Return one question's spans."""
        spans: list[Answer] = value
        return spans

    def truncated(self, response: Response) -> list[int]:
        """Return nothing: long contexts are read in windows."""
        return []

    def token_counts(self, response: Response) -> list[int]:
        """Return nothing: no model counts them."""
        return []

    def join(self, parts: list[Any]) -> list[list[Answer]]:
        """Return one list."""
        return [spans for part in parts for spans in part]


def embedding_model(model: str) -> str:
    """Return the ensemble that embeds, of a set of models of similarity."""
    return f"{model}_embedding"


def checked(items: Items, task: Task[Any, Any, Any]) -> Items:
    """Return items as they are; one text is not a list of texts.

    Raises:
        BadInputError: ``items`` is one text.
    """
    if isinstance(items, str | bytes):
        kind = "str" if task.batch > 1 and task.items != "pairs" else "pairs"
        raise BadInputError(f"{task.items} must be a list of {kind}, got one {type(items).__name__}")
    return items


def _check_pairs(items: Sequence[Any], what: str, wanted: str, start: int, model: str) -> None:
    for index, pair in enumerate(items, start):
        # Of a mapping or a set, nobody knows which is the first.
        if isinstance(pair, str | bytes | Mapping | Set) or not hasattr(pair, "__len__") or len(pair) != 2:
            raise BadInputError(f"{what}[{index}] must be {wanted}, got {type(pair).__name__}", model, index=index)


def _number(value: int, what: str, model: str) -> Array:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or not 1 <= value <= MOST_NUMBER:
        raise BadInputError(f"{what} must be a whole number of 1 or more, got {value!r}", model)
    return np.array([[value]], dtype=np.int32)


def _encode(texts: Iterable[str], what: str, start: int, model: str) -> list[bytes]:
    return [_encoded(text, f"{what}[{index}]", index, model) for index, text in enumerate(texts, start)]


def _encoded(text: str, place: str, index: int, model: str) -> bytes:
    if not isinstance(text, str):
        raise BadInputError(f"{place} must be str, got {type(text).__name__}", model, index=index)
    # The servers would say so too, but each refusal there costs the rest of its batch.
    if not text or text.isspace():
        raise BadInputError(
            f"{place} is empty; text with a character that is not white space is accepted", model, index=index
        )
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        raise BadInputError(
            f"{place} holds a lone surrogate, which is not a character; text that can be written as UTF-8 is accepted",
            model,
            index=index,
        ) from None
    if len(encoded) > MOST_BYTES:
        raise BadInputError(f"{place} has {len(encoded)} bytes; at most {MOST_BYTES} are accepted", model, index=index)
    return encoded
