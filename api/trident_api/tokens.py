"""Embeddings together with the number of tokens they took, which the client's own ``embed`` does not tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from trident_client import AsyncTridentClient, Request, Response

#: The ensembles' max_batch_size, and how many batches of one request are with Triton at once.
MAX_BATCH, CONCURRENCY = 64, 4
WAYS = ("_sender", "_transport")
OUTPUTS = ("EMBEDDING", "TOKEN_COUNT", "TRUNCATED_TOKENS")


async def embed_and_count(
    client: AsyncTridentClient, texts: Sequence[str], model: str, on_truncation: Callable[[list[int]], None]
) -> tuple[npt.NDArray[np.float32], int]:
    """Return embeddings, float32 ``[n, dim]``, unit norm, and the tokens that the encoder read, specials included.

    Args:
        client: the client whose connection is used.
        texts: any number of texts, none of them empty.
        model: the set of models that embeds.
        on_truncation: called with the indices of texts longer than the encoder takes.

    Raises:
        TridentError: as from :meth:`AsyncTridentClient.embed`.
    """
    # No public method tells the counts; the client's own way to the server, by the name that it has, does.
    infer_text = next(getattr(client, name) for name in WAYS if hasattr(client, name)).infer
    slots = asyncio.Semaphore(CONCURRENCY)

    async def infer(start: int) -> Response:
        column = np.array([[text.encode()] for text in texts[start : start + MAX_BATCH]], dtype=np.object_)
        async with slots:
            answer: Response = await infer_text(Request(f"{model}_embedding", {"TEXT": column}, OUTPUTS))
            return answer

    if not texts:
        return np.empty((0, 0), dtype=np.float32), 0
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(infer(start)) for start in range(0, len(texts), MAX_BATCH)]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures.exceptions[0].__cause__
    responses = [task.result() for task in tasks]
    embeddings, counts, cut = (np.concatenate([each[name] for each in responses]) for name in OUTPUTS)
    if cut.any():
        on_truncation(np.flatnonzero(cut).tolist())
    return embeddings, int(counts.sum())
