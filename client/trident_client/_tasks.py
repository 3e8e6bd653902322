"""Each task as a plan: the requests it takes, and how their answers become its result. No input or output here.

A plan is all that the synchronous and the asynchronous client share, and all that they need.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from trident_client._types import Answer, Array, Configuration, ModelInfo, Request, Response, text_column
from trident_client.errors import BadInputError, ServerError, TruncationWarning

# The ensembles' max_batch_size.
MAX_BATCH = 64
# What the tensors of numbers can hold; the server's own limits are lower.
MOST_NUMBER = 2**31 - 1

OnTruncation = Callable[[list[int]], None]
Result = TypeVar("Result")
Values = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Plan(Generic[Result]):
    """Requests that may run in any order, and the function that joins their answers, given in the requests' order."""

    requests: list[Request]
    join: Callable[[Sequence[Response]], Result]


def warn_of_truncation(cut: list[int]) -> None:
    """Warn which items were longer than the encoder takes."""
    shown = ", ".join(map(str, cut[:10])) + (", ..." if len(cut) > 10 else "")
    warnings.warn(
        f"{len(cut)} item(s) were longer than the encoder takes and their ends were ignored: {shown}",
        TruncationWarning,
        stacklevel=5,
    )


def acceptability(sentences: Iterable[str], model: str, on_truncation: OnTruncation) -> Plan[Values]:
    """Plan probabilities that sentences are acceptable: float32 ``[n]``, 0..1."""
    columns = {"TEXT": _encode(sentences, "sentences")}
    return _plan(model, columns, "PROBABILITY", ("TRUNCATED_TOKENS",), on_truncation)


def embed(texts: Iterable[str], model: str, on_truncation: OnTruncation) -> Plan[Values]:
    """Plan embeddings: float32 ``[n, dim]``, unit norm."""
    return _plan(
        embedding_model(model), {"TEXT": _encode(texts, "texts")}, "EMBEDDING", ("TRUNCATED_TOKENS",), on_truncation
    )


def embedding_model(model: str) -> str:
    """Return the ensemble that embeds, of a set of models of similarity."""
    return f"{model}_embedding"


def similarity(pairs: Iterable[tuple[str, str]], model: str, on_truncation: OnTruncation) -> Plan[Values]:
    """Plan similarities: float32 ``[n]``, cosines in -1..1."""
    pairs = list(pairs)
    for index, pair in enumerate(pairs):
        if isinstance(pair, str) or len(pair) != 2:
            raise BadInputError(f"pairs[{index}] must be two sentences, got {type(pair).__name__}", model)
    columns = {
        "SENTENCE_1": _encode((first for first, _ in pairs), "first sentences"),
        "SENTENCE_2": _encode((second for _, second in pairs), "second sentences"),
    }
    return _plan(model, columns, "SIMILARITY", ("TRUNCATED_TOKENS_1", "TRUNCATED_TOKENS_2"), on_truncation)


def answers(
    questions: Iterable[tuple[str, str]], model: str, top_k: int, max_answer_tokens: int | None
) -> Plan[list[list[Answer]]]:
    """Plan the answers to questions, each with its context: for every question its likeliest spans, the best first."""
    questions = list(questions)
    for index, pair in enumerate(questions):
        if isinstance(pair, str) or len(pair) != 2:
            raise BadInputError(
                f"questions[{index}] must be a question and its context, got {type(pair).__name__}", model
            )
    asked = _encode((question for question, _ in questions), "questions")
    contexts = _encode((context for _, context in questions), "contexts")
    numbers = {"TOP_K": _number(top_k, "top_k")}
    if max_answer_tokens is not None:
        numbers["MAX_ANSWER_TOKENS"] = _number(max_answer_tokens, "max_answer_tokens")
    outputs = ("ANSWER", "SCORE", "START", "END")
    requests = [
        Request(model, {"QUESTION": text_column([question]), "CONTEXT": text_column([context]), **numbers}, outputs)
        for question, context in zip(asked, contexts, strict=True)
    ]

    def join(responses: Sequence[Response]) -> list[list[Answer]]:
        return [
            [
                Answer(text.decode(), float(score), int(start), int(end))
                for text, score, start, end in zip(*(response[name][0] for name in outputs), strict=True)
            ]
            for response in responses
        ]

    return Plan(requests, join)


def model_infos(configurations: Mapping[str, Configuration]) -> list[ModelInfo]:
    """Return what the configurations of all models, by name, tell of the sets that they make.

    Raises:
        ServerError: a set's parameters are not what an export writes.
    """
    # Of a set's models only the main ensemble tells its task.
    return [
        _model_info(name, configuration, configurations.get(embedding_model(name)))
        for name, configuration in configurations.items()
        if "task" in configuration.get("parameters", {})
    ]


def _model_info(name: str, configuration: Configuration, embedding: Configuration | None) -> ModelInfo:
    told = {key: value.get("string_value", "") for key, value in configuration["parameters"].items()}
    outputs = embedding["output"] if embedding else []
    try:
        return ModelInfo(
            name=name,
            task=told["task"],
            languages=tuple(filter(None, told.get("languages", "").split(","))),
            # Numbers over HTTP, text over gRPC.
            dimension=next((int(each["dims"][-1]) for each in outputs if each["name"] == "EMBEDDING"), None),
            threshold=float(told["threshold"]) if "threshold" in told else None,
            metrics=json.loads(told.get("metrics", "{}")),
        )
    except ValueError as error:
        raise ServerError(f"the model's parameters cannot be read: {error}", name) from error


def _number(value: int, what: str) -> Array:
    if not isinstance(value, int) or not 1 <= value <= MOST_NUMBER:
        raise BadInputError(f"{what} must be a whole number of 1 or more, got {value!r}", "qa")
    return np.array([[value]], dtype=np.int32)


def _plan(
    model: str, columns: dict[str, list[bytes]], output: str, truncations: tuple[str, ...], on_truncation: OnTruncation
) -> Plan[Values]:
    count = len(next(iter(columns.values())))
    requests = [
        Request(
            model,
            {name: text_column(texts[start : start + MAX_BATCH]) for name, texts in columns.items()},
            (output, *truncations),
        )
        for start in range(0, count, MAX_BATCH)
    ]

    def join(responses: Sequence[Response]) -> Values:
        if not responses:
            return np.empty((0, 0) if output == "EMBEDDING" else 0, dtype=np.float32)
        cut = np.concatenate([sum((response[name] for name in truncations), 0) for response in responses])
        if cut.any():
            on_truncation(np.flatnonzero(cut).tolist())
        values: Array = np.concatenate([response[output] for response in responses])
        return values if output == "EMBEDDING" else values[:, 0]

    return Plan(requests, join)


def _encode(texts: Iterable[str], what: str) -> list[bytes]:
    if isinstance(texts, str | bytes):
        raise BadInputError(f"{what} must be a list of str, got one {type(texts).__name__}")
    encoded = []
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise BadInputError(f"{what}[{index}] must be str, got {type(text).__name__}")
        try:
            encoded.append(text.encode())
        except UnicodeEncodeError:
            raise BadInputError(f"{what}[{index}] holds a lone surrogate, which is not a character") from None
    return encoded
