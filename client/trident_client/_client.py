"""The two clients: one for threads, one for an event loop, over the same plans."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Literal

import numpy as np
import numpy.typing as npt

from trident_client import _tasks
from trident_client._grpc import AsyncGrpcTransport, GrpcTransport
from trident_client._http import AsyncHttpTransport, HttpTransport
from trident_client._types import Answer, AsyncTransport, ModelInfo, Response, Timeout, Transport

Protocol = Literal["http", "grpc"]

DEFAULT_URLS = {"http": "127.0.0.1:8010", "grpc": "127.0.0.1:8011"}
MODELS = ("cola", "qa", "sts", "sts_embedding")


class TridentClient:
    """Talks to Triton; may be shared by any number of threads.

    Lists longer than a batch are split, sent over up to ``concurrency`` requests at a time, and answered in order.

    Args:
        url: ``host:port`` of Triton; the local server's when not given.
        protocol: ``http`` or ``grpc``.
        timeout: seconds for the connection and for an answer.
        concurrency: how many requests of one call are under way at once.
        transport: carries the requests in place of ``url`` and ``protocol``, such as a :class:`FakeTransport`.

    Raises:
        TridentError: from every method; see :mod:`trident_client.errors` for the tree.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        protocol: Protocol = "http",
        timeout: Timeout | None = None,
        concurrency: int = 4,
        transport: Transport | None = None,
    ) -> None:
        kinds: dict[str, Callable[[str, Timeout], Transport]] = {"http": HttpTransport, "grpc": GrpcTransport}
        _check(protocol, concurrency)
        self._transport: Transport = transport or kinds[protocol](url or DEFAULT_URLS[protocol], timeout or Timeout())
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="trident")

    def __enter__(self) -> TridentClient:
        """Return the client; leaving closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the connections. Calls under way are finished first."""
        self._threads.shutdown()
        self._transport.close()

    def acceptability(
        self,
        sentences: Iterable[str],
        *,
        model: str = "cola",
        on_truncation: _tasks.OnTruncation = _tasks.warn_of_truncation,
    ) -> npt.NDArray[np.float32]:
        """Return each sentence's probability of being grammatically acceptable, float32 ``[n]``, 0 to 1.

        Args:
            sentences: any number of sentences, none of them empty.
            model: the set of models that judges, as :meth:`models` lists them.
            on_truncation: called with the indices of sentences longer than the model takes; warns by default.
        """
        return self._run(_tasks.acceptability(sentences, model, on_truncation))

    def answer(
        self, question: str, context: str, top_k: int = 1, *, model: str = "qa", max_answer_tokens: int | None = None
    ) -> list[Answer]:
        """Return the likeliest answers to a question, the best first; ``context[start:end]`` is each answer's text.

        Args:
            question: not empty.
            context: the text that holds the answer, of any length up to the server's limit in bytes; not empty.
            top_k: how many answers are wanted, 1 to 100; fewer come where the context has no more.
            model: the set of models that answers, as :meth:`models` lists them.
            max_answer_tokens: tokens in the longest answer, 1 to 512; 30 when None.
        """
        return self.answer_many([(question, context)], top_k, model=model, max_answer_tokens=max_answer_tokens)[0]

    def answer_many(
        self,
        questions: Iterable[tuple[str, str]],
        top_k: int = 1,
        *,
        model: str = "qa",
        max_answer_tokens: int | None = None,
    ) -> list[list[Answer]]:
        """Return each question's likeliest answers; as many questions as ``concurrency`` allows are under way at once.

        Args:
            questions: any number of questions, each with its context.
            top_k: answers wanted for each; see :meth:`answer`.
            model: the set of models that answers; see :meth:`models`.
            max_answer_tokens: tokens in the longest answer; see :meth:`answer`.
        """
        return self._run(_tasks.answers(questions, model, top_k, max_answer_tokens))

    def embed(
        self,
        texts: Iterable[str],
        *,
        model: str = "sts",
        on_truncation: _tasks.OnTruncation = _tasks.warn_of_truncation,
    ) -> npt.NDArray[np.float32]:
        """Return each text's embedding, float32 ``[n, dim]``, unit norm.

        Args:
            texts: any number of texts, none of them empty.
            model: the set of models that embeds, as :meth:`models` lists them.
            on_truncation: called with the indices of texts longer than the encoder takes; warns by default.
        """
        return self._run(_tasks.embed(texts, model, on_truncation))

    def similarity(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        model: str = "sts",
        on_truncation: _tasks.OnTruncation = _tasks.warn_of_truncation,
    ) -> npt.NDArray[np.float32]:
        """Return each pair's cosine, float32 ``[n]``, -1 to 1.

        Args:
            pairs: any number of pairs of sentences, none of them empty.
            model: the set of models that compares, as :meth:`models` lists them.
            on_truncation: called with the indices of pairs longer than the encoder takes; warns by default.
        """
        return self._run(_tasks.similarity(pairs, model, on_truncation))

    def models(self) -> list[ModelInfo]:
        """Return the sets of models that the server has ready, by name, and what is known of each.

        Raises:
            TransportError: the server cannot be reached.
        """
        names = self._transport.index()
        found = {name: self._transport.configuration(name) for name in sorted(names)}
        return _tasks.model_infos(found)

    def ready(self) -> bool:
        """Say whether every model answers.

        Raises:
            TransportError: the server cannot be reached.
        """
        return self._transport.ready(MODELS)

    def _run(self, plan: _tasks.Plan[_tasks.Result]) -> _tasks.Result:
        if len(plan.requests) == 1:
            return plan.join([self._transport.infer(plan.requests[0])])
        return plan.join(list(self._threads.map(self._transport.infer, plan.requests)))


class AsyncTridentClient:
    """The same for one event loop; see :class:`TridentClient` for arguments and errors."""

    def __init__(
        self,
        url: str | None = None,
        *,
        protocol: Protocol = "http",
        timeout: Timeout | None = None,
        concurrency: int = 4,
        transport: AsyncTransport | None = None,
    ) -> None:
        kinds: dict[str, Callable[[str, Timeout], AsyncTransport]] = {
            "http": AsyncHttpTransport,
            "grpc": AsyncGrpcTransport,
        }
        _check(protocol, concurrency)
        self._transport: AsyncTransport = transport or kinds[protocol](
            url or DEFAULT_URLS[protocol], timeout or Timeout()
        )
        self._concurrency = concurrency

    async def __aenter__(self) -> AsyncTridentClient:
        """Return the client; leaving closes it."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def acceptability(
        self,
        sentences: Iterable[str],
        *,
        model: str = "cola",
        on_truncation: _tasks.OnTruncation = _tasks.warn_of_truncation,
    ) -> npt.NDArray[np.float32]:
        """Return each sentence's probability of being acceptable; see :meth:`TridentClient.acceptability`."""
        return await self._run(_tasks.acceptability(sentences, model, on_truncation))

    async def answer(
        self, question: str, context: str, top_k: int = 1, *, model: str = "qa", max_answer_tokens: int | None = None
    ) -> list[Answer]:
        """Return the likeliest answers to a question; see :meth:`TridentClient.answer`."""
        return (await self.answer_many([(question, context)], top_k, model=model, max_answer_tokens=max_answer_tokens))[
            0
        ]

    async def answer_many(
        self,
        questions: Iterable[tuple[str, str]],
        top_k: int = 1,
        *,
        model: str = "qa",
        max_answer_tokens: int | None = None,
    ) -> list[list[Answer]]:
        """Return each question's likeliest answers; see :meth:`TridentClient.answer_many`."""
        return await self._run(_tasks.answers(questions, model, top_k, max_answer_tokens))

    async def embed(
        self,
        texts: Iterable[str],
        *,
        model: str = "sts",
        on_truncation: _tasks.OnTruncation = _tasks.warn_of_truncation,
    ) -> npt.NDArray[np.float32]:
        """Return each text's embedding; see :meth:`TridentClient.embed`."""
        return await self._run(_tasks.embed(texts, model, on_truncation))

    async def similarity(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        model: str = "sts",
        on_truncation: _tasks.OnTruncation = _tasks.warn_of_truncation,
    ) -> npt.NDArray[np.float32]:
        """Return each pair's cosine; see :meth:`TridentClient.similarity`."""
        return await self._run(_tasks.similarity(pairs, model, on_truncation))

    async def models(self) -> list[ModelInfo]:
        """Return the sets of models that the server has ready; see :meth:`TridentClient.models`."""
        names = sorted(await self._transport.index())
        found = await asyncio.gather(*map(self._transport.configuration, names))
        return _tasks.model_infos(dict(zip(names, found, strict=True)))

    async def ready(self) -> bool:
        """Say whether every model answers; see :meth:`TridentClient.ready`."""
        return await self._transport.ready(MODELS)

    async def _run(self, plan: _tasks.Plan[_tasks.Result]) -> _tasks.Result:
        slots = asyncio.Semaphore(self._concurrency)

        async def infer(index: int) -> Response:
            async with slots:
                return await self._transport.infer(plan.requests[index])

        # A task group, so that the first failure cancels the rest and is what the caller sees.
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(infer(index)) for index in range(len(plan.requests))]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures.exceptions[0].__cause__
        return plan.join([task.result() for task in tasks])


def _check(protocol: str, concurrency: int) -> None:
    if protocol not in DEFAULT_URLS:
        raise ValueError(f"protocol must be 'http' or 'grpc', got {protocol!r}")
    if concurrency < 1:
        raise ValueError(f"concurrency must be at least 1, got {concurrency}")
