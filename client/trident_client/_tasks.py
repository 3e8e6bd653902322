"""Each task: the request that some of its items make, and what the response says of each. No input or output here.

A task is all that a client needs to know of what it is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any, Generic, Literal, Protocol, TypeVar, get_args

import numpy as np
import numpy.typing as npt

from trident_client import contract
from trident_client._types import Answer, Array, Label, Request, Response, text_column
from trident_client.contract import Ensemble, NumberInput, TextInput
from trident_client.encoding import EncodingFormat, encoded
from trident_client.errors import BadInputError
from trident_client.text import is_blank

#: What becomes of a text that is too long: it loses its end or its beginning, or is refused.
Truncate = Literal["right", "left", "error"]
Values = npt.NDArray[np.float32]
Items = TypeVar("Items")
Item = TypeVar("Item", contravariant=True)
Value = TypeVar("Value", covariant=True)
Result = TypeVar("Result", covariant=True)


class Task(Protocol, Generic[Item, Value, Result]):
    """What a client does with a list of items.

    Attributes:
        ensemble: what is asked, as the contract has it.
        model: the ensemble's name in the set of models that is asked.
        prompt: stands in front of each text.
        refuses_truncated: whether an item that is longer than the model takes is none that it takes.
        items: what the items are called in messages.
        batch: how many items a request takes.
        missing: stands in the place of an item that the model does not take.
    """

    prompt: str
    refuses_truncated: bool

    @property
    def ensemble(self) -> Ensemble:
        """What is asked."""

    @property
    def model(self) -> str:
        """Name of the ensemble that is asked."""

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

    def unknown(self, response: Response) -> list[int]:
        """Return which items, counted so, have tokens that the model's vocabulary does not know."""

    def token_counts(self, response: Response) -> list[int]:
        """Return how many tokens of each item the model read; nothing where that was not asked for."""

    def join(self, parts: list[Any]) -> Result:
        """Return the values of consecutive requests as what the list form returns."""


class _Ensemble:
    """What all tasks share: requests as the contract has them, and the outputs that say what was cut and counted.

    Args:
        ensemble: what is asked.
        model: the set of models that is asked.
    """

    counts: tuple[str, ...] = ()
    refuses_truncated = False

    def __init__(self, ensemble: Ensemble, model: str) -> None:
        self.ensemble = ensemble
        self.model = ensemble.of(model)
        self.items, self.batch = ensemble.items, ensemble.max_batch
        self.numbers: dict[str, Array] = {}
        # What stands in front of each text.
        self.prompt = ""

    @property
    def outputs(self) -> tuple[str, ...]:
        answers = (each.tensor for each in self.ensemble.answers)
        return (*answers, *self.ensemble.truncations, *self.ensemble.unknowns, *self.counts)

    def request(self, items: Sequence[Any], start: int) -> Request:
        """Return the request for some items, each a text, or as many texts as the ensemble has inputs."""
        inputs = self.ensemble.inputs
        # Where one text is enough, it need not be a tuple.
        single = len(self.ensemble.required) == 1
        rows = [(item,) if single and (len(inputs) == 1 or isinstance(item, str)) else item for item in items]
        if len(inputs) > 1:
            self._check_texts(rows, start)
        columns = {
            each.tensor: text_column(
                [
                    self._encode(row[place], each, index) if place < len(row) else b""
                    for index, row in enumerate(rows, start)
                ]
            )
            for place, each in enumerate(inputs)
            if any(place < len(row) for row in rows)
        }
        # A number is the same for all of a request.
        numbers = {name: np.repeat(value, len(rows), axis=0) for name, value in self.numbers.items()}
        return Request(self.model, columns | numbers, self.outputs)

    def truncated(self, response: Response) -> list[int]:
        return _rows_that_count(response, self.ensemble.truncations)

    def unknown(self, response: Response) -> list[int]:
        return _rows_that_count(response, self.ensemble.unknowns)

    def token_counts(self, response: Response) -> list[int]:
        return [int(count) for name in self.counts for count in response[name][:, 0]]

    def _truncate(self, truncate: Truncate) -> None:
        if truncate not in get_args(Truncate):
            raise BadInputError(f"truncate must be {', '.join(get_args(Truncate))}, got {truncate!r}", self.model)
        # Only what is not the model's own way is sent: it may have been exported before there was the input.
        if truncate == "left":
            if all(each.field != "truncate_left" for each in self.ensemble.numbers):
                reason = f"must be right or error, got 'left': {self.ensemble.name} cuts no beginnings"
                raise BadInputError(f"truncate {reason}", self.model, field="truncate", reason=reason)
            self.numbers |= _numbers(self.ensemble, self.model, {"truncate_left": 1})
        self.refuses_truncated = truncate == "error"

    def _check_texts(self, items: Sequence[Any], start: int) -> None:
        count, least = len(self.ensemble.inputs), len(self.ensemble.required)
        for index, item in enumerate(items, start):
            # Of a mapping or a set, nobody knows which is the first.
            loose = isinstance(item, str | bytes | Mapping | Set) or not hasattr(item, "__len__")
            if loose or not least <= len(item) <= count:
                wanted = self.ensemble.item or f"{count} texts"
                reason = f"must be {wanted}, got {type(item).__name__}"
                raise BadInputError(f"{self.items}[{index}] {reason}", self.model, index=index, reason=reason)

    def _encode(self, text: Any, text_input: TextInput, index: int) -> bytes:
        # The servers would say so too, but each refusal there costs the rest of its batch.
        encoded = b""
        prompt = self.prompt.encode()
        reason = None
        if not isinstance(text, str):
            reason = f"must be str, got {type(text).__name__}"
        else:
            try:
                encoded = text.encode()
            except UnicodeEncodeError:
                reason = (
                    "holds a lone surrogate, which is not a character; text that can be written as UTF-8 is accepted"
                )
            if reason is None and is_blank(text):
                reason = "is empty; text with at least one visible character is accepted"
            elif len(encoded) > text_input.max_bytes:
                reason = f"has {len(encoded)} bytes; at most {text_input.max_bytes} are accepted"
        if reason is not None:
            message = f"{text_input.texts}[{index}] {reason}"
            raise BadInputError(message, self.model, index=index, field=text_input.column, reason=reason)
        return prompt + encoded


class _Scores(_Ensemble):
    """One float32 an item."""

    missing = float("nan")

    def values(self, response: Response) -> Any:
        return response[self.ensemble.output.tensor][:, 0]

    def single(self, value: Any) -> float:
        return float(value)

    def join(self, parts: list[Any]) -> Values:
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.float32)


class Acceptability(_Scores):
    """Sentences to probabilities that they are acceptable: float32 ``[n]``, 0..1."""

    def __init__(self, model: str = contract.COLA.name, *, truncate: Truncate = "right") -> None:
        super().__init__(contract.COLA.main, model)
        self._truncate(truncate)


class Similarity(_Scores):
    """Pairs of sentences to similarities: float32 ``[n]``, cosines in -1..1."""

    def __init__(self, model: str = contract.STS.name, *, truncate: Truncate = "right") -> None:
        super().__init__(contract.STS.main, model)
        self._truncate(truncate)


class Relevance(_Scores):
    """Queries, each with a text, to how well they belong together: float32 ``[n]``, 0..1, or logits.

    Args:
        model: the set of models that is asked.
        raw_scores: whether logits are wanted.
        truncate: what becomes of a pair that is too long.
    """

    def __init__(
        self, model: str = contract.RERANK.name, *, raw_scores: bool = False, truncate: Truncate = "right"
    ) -> None:
        super().__init__(contract.RERANK.main, model)
        self._truncate(truncate)
        self._answer = _scored_by(self.ensemble, raw_scores)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the one that is wanted, and what says what was cut."""
        return (self._answer, *self.ensemble.truncations, *self.ensemble.unknowns)

    def values(self, response: Response) -> Any:
        """Return each pair's number."""
        return response[self._answer][:, 0]


class Embedding(_Ensemble):
    """Texts to embeddings: float32 ``[n, dim]``, unit norm, or in another format; tokens are counted if asked for."""

    def __init__(
        self,
        model: str = contract.STS.name,
        *,
        count_tokens: bool = False,
        truncate: Truncate = "right",
        encoding_format: EncodingFormat = "float",
    ) -> None:
        super().__init__(contract.EMBED, model)
        self._truncate(truncate)
        if encoding_format not in get_args(EncodingFormat):
            reason = f"must be {', '.join(get_args(EncodingFormat))}, got {encoding_format!r}"
            raise BadInputError(f"encoding_format {reason}", self.model, field="encoding_format", reason=reason)
        self._format = encoding_format
        self.counts = self.ensemble.counts if count_tokens else ()

    @property
    def missing(self) -> npt.NDArray[Any]:
        """Return no components."""
        return self.none(0).ravel()

    def none(self, dimension: int) -> npt.NDArray[Any]:
        """Return the matrix of no text."""
        return encoded(np.empty((0, dimension), dtype=np.float32), self._format)

    def values(self, response: Response) -> Any:
        """Return each text's row."""
        return encoded(response[self.ensemble.output.tensor], self._format)

    def single(self, value: Any) -> npt.NDArray[Any]:
        """Return one row."""
        row: npt.NDArray[Any] = value
        return row

    def join(self, parts: list[Any]) -> npt.NDArray[Any]:
        """Return one matrix."""
        return np.concatenate(parts) if parts else self.none(0)


class _Lists(_Ensemble):
    """An object an item, joined in a list."""

    def single(self, value: Any) -> Any:
        return value

    def join(self, parts: list[Any]) -> list[Any]:
        return [value for part in parts for value in part]


class Labels(_Lists):
    """Texts, or pairs of them, to all labels of a model with their scores, the best first: lists of :class:`Label`.

    Args:
        model: the set of models that is asked.
        raw_scores: whether logits are wanted.
        truncate: what becomes of a text, or a pair, that is too long.

    Attributes:
        labels: the model's, in the order of its scores; set before the first answer is read.
    """

    def __init__(
        self, model: str = contract.CLASSIFY.name, *, raw_scores: bool = False, truncate: Truncate = "right"
    ) -> None:
        super().__init__(contract.CLASSIFY.main, model)
        self._truncate(truncate)
        self._answer = _scored_by(self.ensemble, raw_scores)
        self.labels: tuple[str, ...] = ()

    @property
    def missing(self) -> list[Label]:
        """Return no labels."""
        return []

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the one that is wanted, and what says what was cut."""
        return (self._answer, *self.ensemble.truncations, *self.ensemble.unknowns)

    def values(self, response: Response) -> list[list[Label]]:
        """Return each text's labels."""
        return [best_first(self.labels, row) for row in response[self._answer].tolist()]


def best_first(labels: Sequence[str], scores: Sequence[float]) -> list[Label]:
    """Return labels with their scores, the greatest first; equal ones in the model's order."""
    return sorted(map(Label, labels, scores), key=lambda each: -each.score)


def _scored_by(ensemble: Ensemble, raw_scores: bool) -> str:
    scores, logits = ensemble.outputs[:2]
    return (logits if raw_scores else scores).tensor


class Answers(_Lists):
    """Questions, each with its context, to their likeliest spans, the best first: lists of :class:`Answer`.

    Raises:
        BadInputError: a number is not one that a tensor can hold.
    """

    def __init__(
        self,
        model: str = contract.QA.name,
        top_k: int = 1,
        max_answer_tokens: int | None = None,
        *,
        no_answer: bool = True,
    ) -> None:
        super().__init__(contract.QA.main, model)
        # Only what is not the model's own way is sent: it may have been exported before there was the input.
        numbers = {"top_k": top_k, "max_answer_tokens": max_answer_tokens, "no_answer": None if no_answer else 0}
        self.numbers = _numbers(self.ensemble, self.model, numbers)

    @property
    def missing(self) -> list[Answer]:
        """Return no answers."""
        return []

    def values(self, response: Response) -> list[list[Answer]]:
        """Return each question's spans."""
        rows = zip(*(response[each.tensor] for each in self.ensemble.answers), strict=True)
        return [
            [
                Answer(text.decode(), float(score), int(start), int(end))
                for text, score, start, end in zip(*row, strict=True)
            ]
            for row in rows
        ]


class Prediction(_Lists):
    """Items of any ensemble of the contract to mappings of its outputs' fields to an item's values.

    A row of one number is that number, a longer one an array, and one of texts a list of str.

    Args:
        name: of the ensemble, such as ``embed``; see :func:`trident_client.contract.ensemble_of`.
        model: the set of models that is asked; the task's own when None.
        numbers: further inputs, by their fields.
        count_tokens: whether tokens are counted, where the ensemble does.
        truncate: what becomes of an item that is too long.

    Raises:
        BadInputError: there is no such ensemble, or it takes no such number, or cuts no beginnings.
    """

    def __init__(
        self,
        name: str,
        model: str | None = None,
        numbers: Mapping[str, int | None] | None = None,
        *,
        count_tokens: bool = False,
        truncate: Truncate = "right",
    ) -> None:
        try:
            task, ensemble = contract.ensemble_of(name)
        except KeyError:
            known = ", ".join(each.name for _, each in contract.ensembles())
            raise BadInputError(f"there is no task {name!r}; there are {known}") from None
        super().__init__(ensemble, model or task.name)
        self.numbers = _numbers(ensemble, self.model, numbers or {})
        self._truncate(truncate)
        self.counts = ensemble.counts if count_tokens else ()

    @property
    def missing(self) -> dict[str, Any]:
        """Return no values."""
        return {}

    def values(self, response: Response) -> list[dict[str, Any]]:
        """Return each item's values by field."""
        fields = {str(each.field): response[each.tensor] for each in self.ensemble.answers}
        return [
            {field: _unboxed(row) for field, row in zip(fields, rows, strict=True)}
            for rows in zip(*fields.values(), strict=True)
        ]


def _rows_that_count(response: Response, names: Sequence[str]) -> list[int]:
    # A transport that stands in for a server need not count.
    counted: Any = sum((response[name] for name in names if name in response), 0)
    return [int(place) for place in np.flatnonzero(counted)]


def _unboxed(row: Array) -> Any:
    if row.dtype == np.object_:
        return [each.decode() for each in row.ravel()]
    return row.item() if row.size == 1 else row


def checked(items: Items, task: Task[Any, Any, Any]) -> Items:
    """Return items as they are; one text is not a list of texts.

    Raises:
        BadInputError: ``items`` is one text.
    """
    if isinstance(items, str | bytes):
        kind = {1: "str", 2: "pairs"}.get(len(task.ensemble.required), "tuples")
        raise BadInputError(f"{task.items} must be a list of {kind}, got one {type(items).__name__}")
    return items


def _numbers(ensemble: Ensemble, model: str, values: Mapping[str, int | None]) -> dict[str, Array]:
    inputs = {each.field: each for each in ensemble.numbers}
    tensors = {}
    for field, value in values.items():
        if field not in inputs:
            reason = f"is not taken; accepted are {', '.join(inputs) or 'none'}"
            raise BadInputError(f"{field} {reason}", model, field=field, reason=reason)
        if value is not None:
            tensors[inputs[field].tensor] = _number(value, inputs[field], model)
    return tensors


def _number(value: int, number: NumberInput, model: str) -> Array:
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_whole or not number.minimum <= value <= number.maximum:
        accepted = f"{number.maximum} or less" if is_whole and value > number.maximum else f"{number.minimum} or more"
        reason = f"must be a whole number of {accepted}, got {value!r}"
        raise BadInputError(f"{number.field} {reason}", model, field=number.field, reason=reason)
    return np.array([[value]], dtype=np.int32)
