"""Each task as the command line sees it: the columns it reads, the fields it answers with, and how it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trident_client import Answer, Label, TridentClient, contract
from trident_client._tasks import Truncate
from trident_client.encoding import EncodingFormat
from trident_client.errors import BadInputError

OnBadItem = Callable[[int, BadInputError], None]
OnIndices = Callable[[list[int]], None]
Stream = Callable[[TridentClient, Iterable[Any], OnIndices, OnIndices, OnBadItem], Iterator[Any]]


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        name: of the command.
        kind: of the sets of models that do it.
        model: the set that is asked.
        columns: for each text, the names that its column may have, the first being its own.
        results: the fields of an answer, and the Arrow type of each.
        stream: asks the server for items: texts, or tuples where there are several columns.
        fields: makes an answer's fields of what the stream yields.
        optional: how many of the columns, at the end, a row may do without.
        top_n: how many rows with the best ``score`` are wanted, the best first; all, as they come, when None.
    """

    name: str
    kind: str
    model: str
    columns: tuple[tuple[str, ...], ...]
    results: Mapping[str, str]
    stream: Stream
    fields: Callable[[Any], dict[str, Any]]
    optional: int = 0
    top_n: int | None = None

    @property
    def names(self) -> list[str]:
        """The own names of the columns that every row has."""
        return [names[0] for names in self.columns[: self.required]]

    @property
    def required(self) -> int:
        """How many columns every row has."""
        return len(self.columns) - self.optional


def cola(model: str, truncate: Truncate = "right") -> Task:
    """Sentences to probabilities that they are acceptable."""
    return Task(
        contract.COLA.main.name,
        contract.COLA.name,
        model,
        _columns(contract.COLA.main),
        _results(contract.COLA.main),
        lambda client, items, on_truncation, on_unknown, on_bad_item: client.stream_acceptability(
            items,
            model=model,
            on_truncation=on_truncation,
            on_unknown=on_unknown,
            on_bad_item=on_bad_item,
            truncate=truncate,
        ),
        lambda value: {"probability": single_precision(value)},
    )


def sts(
    model: str,
    prompt_name: str | None = None,
    truncate: Truncate = "right",
    input_type: contract.InputType | None = None,
) -> Task:
    """Pairs of sentences to cosines."""
    return Task(
        contract.STS.main.name,
        contract.STS.name,
        model,
        _columns(contract.STS.main),
        _results(contract.STS.main),
        lambda client, items, on_truncation, on_unknown, on_bad_item: client.stream_similarity(
            items,
            model=model,
            on_truncation=on_truncation,
            on_unknown=on_unknown,
            on_bad_item=on_bad_item,
            prompt_name=prompt_name,
            input_type=input_type,
            truncate=truncate,
        ),
        lambda value: {"similarity": single_precision(value)},
    )


def classify(model: str, top_k: int, *, raw_scores: bool = False, truncate: Truncate = "right") -> Task:
    """Texts, or pairs of them, to their likeliest label, or to a list of labels where several are wanted."""

    def named(label: Label) -> dict[str, Any]:
        return {"label": label.label, "score": single_precision(label.score)}

    return Task(
        contract.CLASSIFY.main.name,
        contract.CLASSIFY.name,
        model,
        _columns(contract.CLASSIFY.main),
        {"label": "string", "score": "float"} if top_k == 1 else {"labels": "list<label>"},
        lambda client, items, on_truncation, on_unknown, on_bad_item: client.stream_classifications(
            items,
            model=model,
            raw_scores=raw_scores,
            on_truncation=on_truncation,
            on_unknown=on_unknown,
            on_bad_item=on_bad_item,
            truncate=truncate,
        ),
        lambda labels: named(labels[0]) if top_k == 1 else {"labels": [named(each) for each in labels[:top_k]]},
        optional=1,
    )


def rerank(model: str, *, top_n: int | None = None, raw_scores: bool = False, truncate: Truncate = "right") -> Task:
    """Queries, each with a text, to how well they belong together."""
    return Task(
        contract.RERANK.main.name,
        contract.RERANK.name,
        model,
        _columns(contract.RERANK.main),
        {"score": "float"},
        lambda client, items, on_truncation, on_unknown, on_bad_item: client.stream_predictions(
            "rerank",
            items,
            model=model,
            on_truncation=on_truncation,
            on_unknown=on_unknown,
            on_bad_item=on_bad_item,
            truncate=truncate,
        ),
        lambda found: {"score": single_precision(found["logits" if raw_scores else "scores"])},
        top_n=top_n,
    )


def embed(
    model: str,
    prompt_name: str | None = None,
    truncate: Truncate = "right",
    encoding_format: EncodingFormat = "float",
    input_type: contract.InputType | None = None,
) -> Task:
    """Texts to embeddings."""
    numbers = {"float": "float", "ubinary": "uint8"}.get(encoding_format, "int8")
    return Task(
        contract.EMBED.name,
        contract.STS.name,
        model,
        _columns(contract.EMBED),
        {"embedding": f"list<{numbers}>"},
        lambda client, items, on_truncation, on_unknown, on_bad_item: client.stream_embeddings(
            items,
            model=model,
            on_truncation=on_truncation,
            on_unknown=on_unknown,
            on_bad_item=on_bad_item,
            prompt_name=prompt_name,
            input_type=input_type,
            truncate=truncate,
            encoding_format=encoding_format,
        ),
        lambda value: {"embedding": value},
    )


def qa(model: str, top_k: int, max_answer_tokens: int | None, *, no_answer: bool = True) -> Task:
    """Questions with their contexts to spans; a list of them where several are wanted."""

    def span(answer: Answer) -> dict[str, Any]:
        return answer._asdict() | {"score": single_precision(answer.score)}

    return Task(
        contract.QA.main.name,
        contract.QA.name,
        model,
        _columns(contract.QA.main),
        _results(contract.QA.main) if top_k == 1 else {"answers": "list<span>"},
        lambda client, items, on_truncation, on_unknown, on_bad_item: client.stream_answers(
            items,
            top_k,
            model=model,
            max_answer_tokens=max_answer_tokens,
            no_answer=no_answer,
            on_unknown=on_unknown,
            on_bad_item=on_bad_item,
        ),
        lambda spans: span(spans[0]) if top_k == 1 else {"answers": [span(each) for each in spans]},
    )


def _columns(ensemble: contract.Ensemble) -> tuple[tuple[str, ...], ...]:
    return tuple(each.names for each in ensemble.inputs)


def _results(ensemble: contract.Ensemble) -> dict[str, str]:
    types = {"FP32": "float", "INT32": "int32", "BYTES": "string"}
    return {str(each.field): types[each.datatype] for each in ensemble.answers}


def single_precision(value: float) -> float:
    """Return the shortest number that is the same in float32."""
    return float(str(np.float32(value)))


def explain(error: BadInputError) -> str:
    """Return what was wrong with an item, without its place in the client's stream: rows have numbers of their own."""
    return f"{error.field} {error.reason}" if error.field else error.reason
