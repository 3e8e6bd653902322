"""Each task as a plan: the requests it takes, and how their answers become its result. No input or output here.

A plan is all that the synchronous and the asynchronous client share, and all that they need.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trident_client._types import Array, Request, Response, text_column
from trident_client.errors import BadInputError, TruncationWarning

# The ensembles' max_batch_size.
MAX_BATCH = 64

OnTruncation = Callable[[list[int]], None]


@dataclass(frozen=True)
class Plan:
    """Requests that may run in any order, and the function that joins their answers, given in the requests' order."""

    requests: list[Request]
    join: Callable[[Sequence[Response]], npt.NDArray[np.float32]]


def warn_of_truncation(cut: list[int]) -> None:
    """Warn which items were longer than the encoder takes."""
    shown = ", ".join(map(str, cut[:10])) + (", ..." if len(cut) > 10 else "")
    warnings.warn(
        f"{len(cut)} item(s) were longer than the encoder takes and their ends were ignored: {shown}",
        TruncationWarning,
        stacklevel=5,
    )


def embed(texts: Iterable[str], on_truncation: OnTruncation) -> Plan:
    """Plan embeddings: float32 ``[n, dim]``, unit norm."""
    return _plan("sts_embedding", {"TEXT": _encode(texts, "texts")}, "EMBEDDING", ("TRUNCATED_TOKENS",), on_truncation)


def similarity(pairs: Iterable[tuple[str, str]], on_truncation: OnTruncation) -> Plan:
    """Plan similarities: float32 ``[n]``, cosines in -1..1."""
    pairs = list(pairs)
    for index, pair in enumerate(pairs):
        if isinstance(pair, str) or len(pair) != 2:
            raise BadInputError(f"pairs[{index}] must be two sentences, got {type(pair).__name__}", "sts")
    columns = {
        "SENTENCE_1": _encode((first for first, _ in pairs), "first sentences"),
        "SENTENCE_2": _encode((second for _, second in pairs), "second sentences"),
    }
    return _plan("sts", columns, "SIMILARITY", ("TRUNCATED_TOKENS_1", "TRUNCATED_TOKENS_2"), on_truncation)


def _plan(
    model: str, columns: dict[str, list[bytes]], output: str, truncations: tuple[str, ...], on_truncation: OnTruncation
) -> Plan:
    count = len(next(iter(columns.values())))
    requests = [
        Request(
            model,
            {name: text_column(texts[start : start + MAX_BATCH]) for name, texts in columns.items()},
            (output, *truncations),
        )
        for start in range(0, count, MAX_BATCH)
    ]

    def join(responses: Sequence[Response]) -> npt.NDArray[np.float32]:
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
