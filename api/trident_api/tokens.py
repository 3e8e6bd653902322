"""Tokens in texts' place: what a text is parted into, and ids that go to the encoder as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from trident_client import Request, contract

from trident_api.call import Call
from trident_api.inference import Inference, Values
from trident_api.problems import FieldProblem, InvalidRequestError

#: The tasks whose sets of models take texts by a tokenizer that tells of them, the first being asked by default.
TOKENIZED = (contract.STS.name, contract.COLA.name, contract.CLASSIFY.name, contract.RERANK.name)
#: Token ids of a text that are turned into text, and the greatest where a set does not say how many it has.
MAX_IDS, MAX_ID = 10_000, 2**31
#: Fills the shorter rows of a request; the encoder drops it.
PADDING = -1


async def tell(
    inference: Inference, call: Call, texts: Sequence[str], model: str | None, *, prompt_name: str | None = None
) -> list[list[dict[str, Any]]]:
    """Return all tokens of each text, as TEI names their parts; see ``Token`` of the schemas.

    Args:
        inference: asks Triton.
        call: of the request.
        texts: what is tokenized.
        model: a set of models that takes texts, the set `sts` where None.
        prompt_name: as of :meth:`Inference.embed`.

    Raises:
        TridentError: as every inference.
    """
    info = await inference.find(model, *TOKENIZED)
    prompt = "" if prompt_name is None else info.prompt(prompt_name)
    found: list[list[dict[str, Any]]] = []
    async with inference.request(call, info.task, texts, info.name):
        for start in range(0, len(texts), contract.MAX_BATCH):
            part = texts[start : start + contract.MAX_BATCH]
            encoded = np.array([[(prompt + text).encode()] for text in part], np.object_)
            inputs = {"TEXT": encoded, "WITH_TOKENS": np.ones((len(part), 1), np.int32)}
            answer = await inference.client.infer(Request(f"{info.name}_tokenizer", inputs, ("TOKENS",)))
            rows = map(orjson.loads, answer["TOKENS"][:, 0])
            found += [_tokens(text, row, len(prompt)) for text, row in zip(part, rows, strict=True)]
    return found


async def embed(inference: Inference, call: Call, rows: Sequence[Sequence[int]], model: str, field: str) -> Values:
    """Return the embeddings of token ids: float32 ``[n, dim]``, unit norm. How many they are is noted in the call.

    Args:
        inference: asks Triton.
        call: of the request.
        rows: ids of the set's own tokenizer for each text, those that frame it and those of a prompt among them.
        model: the set of models.
        field: what the request calls a row, ``{}`` standing for its place.

    Raises:
        InvalidRequestError: an id is none of the set's, or a row has no ids or more than the set takes.
        TridentError: as every inference.
    """
    info = await inference.find(model, contract.STS.name)
    if info.vocabulary is None or info.max_tokens is None:
        detail = f"holds token ids, and {model} does not say which it has; a set that is exported again does"
        raise InvalidRequestError([FieldProblem(field=field.partition(".")[0], detail=detail)])
    for place, ids in enumerate(rows):
        if fault := _at_fault(ids, info.vocabulary, info.max_tokens):
            raise InvalidRequestError([FieldProblem(field=field.format(place), detail=f"{fault} ({model})")])
    call.tokens = sum(map(len, rows))
    found = []
    async with inference.request(call, contract.EMBED.name, rows, model, work=call.tokens):
        for padded in _batches(rows):
            output = contract.EMBED.output.tensor
            request = Request(f"{model}_{contract.STS.network}", {"INPUT_IDS": padded}, (output,))
            found.append((await inference.client.infer(request))[output])
    return np.concatenate(found)


async def decode(
    inference: Inference, call: Call, rows: Sequence[Sequence[int]], model: str | None, *, with_special: bool
) -> list[str]:
    """Return what token ids stand for, a text a row.

    Args:
        inference: asks Triton.
        call: of the request.
        rows: ids of the set's own tokenizer.
        model: as of :func:`tell`.
        with_special: whether special tokens are in the text.

    Raises:
        InvalidRequestError: an id is none of the set's, or a row has no ids or too many.
        TridentError: as every inference.
    """
    info = await inference.find(model, *TOKENIZED)
    for place, ids in enumerate(rows):
        if fault := _at_fault(ids, info.vocabulary or MAX_ID, MAX_IDS):
            raise InvalidRequestError([FieldProblem(field=f"ids.{place}", detail=f"{fault} ({info.name})")])
    found: list[str] = []
    async with inference.request(call, info.task, rows, info.name, work=sum(map(len, rows))):
        for padded in _batches(rows):
            inputs = {"IDS": padded, "WITH_SPECIAL": np.full((len(padded), 1), with_special, np.int32)}
            answer = await inference.client.infer(Request(f"{info.name}_tokenizer", inputs, ("DECODED",)))
            found += [text.decode() for text in answer["DECODED"][:, 0]]
    return found


def _batches(rows: Sequence[Sequence[int]]) -> Iterator[npt.NDArray[np.int32]]:
    """Yield the ids of as many texts as a batch takes, the shorter rows padded."""
    for start in range(0, len(rows), contract.MAX_BATCH):
        part = rows[start : start + contract.MAX_BATCH]
        padded = np.full((len(part), max(map(len, part))), PADDING, np.int32)
        for row, ids in zip(padded, part, strict=True):
            row[: len(ids)] = ids
        yield padded


def _at_fault(ids: Sequence[int], vocabulary: int, longest: int) -> str:
    """Return what is wrong with the ids of a text; nothing where nothing is."""
    if not 1 <= len(ids) <= longest:
        return f"has {len(ids)} token ids; 1 to {longest} are accepted"
    wrong = next((each for each in ids if not 0 <= each < vocabulary), None)
    return "" if wrong is None else f"holds the token id {wrong}; the vocabulary has 0 to {vocabulary - 1}"


def _tokens(text: str, tokens: Sequence[Sequence[Any]], before: int) -> list[dict[str, Any]]:
    """Return tokens by the names of their parts; so many characters stand before the text, which are not its own."""
    found = []
    for token_id, token, special, start, stop in tokens:
        own = stop is not None and (stop > before or not before)
        first, end = (max(start - before, 0), stop - before) if own else (None, None)
        shown = text[first:end] if own else token
        found.append({"id": token_id, "text": shown, "special": special, "start": first, "stop": end})
    return found
