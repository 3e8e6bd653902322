"""The client for an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from trident_client import _batches, _served, _settings, _tasks, contract
from trident_client._balancing import Balancing, ServerStatus
from trident_client._grpc import AsyncGrpcTransport
from trident_client._http import AsyncHttpTransport
from trident_client._retry import Retry
from trident_client._sending import AsyncSender
from trident_client._types import Answer, AsyncTransport, ModelInfo, ModelStatistics, Request, Response, Timeout


class AsyncTridentClient:
    """The same as :class:`TridentClient` for one event loop; see there for arguments and errors.

    ``concurrency`` holds for each call, where the other client's holds for all of its calls together. The ``stream_*``
    methods take asynchronous iterables as well; who stops reading one before its end closes it, as
    :func:`contextlib.aclosing` does, so that nothing of it stays under way.
    """

    def __init__(
        self,
        url: str | Sequence[str] | None = None,
        *,
        protocol: _settings.Protocol = "http",
        timeout: Timeout | None = None,
        concurrency: int = 4,
        transport: AsyncTransport | Mapping[str, AsyncTransport] | None = None,
        retry: Retry | None = None,
        balancing: Balancing | None = None,
        shared_memory: bool = False,
    ) -> None:
        kinds: dict[str, _settings.Maker[AsyncTransport]] = {
            "http": AsyncHttpTransport,
            "grpc": AsyncGrpcTransport,
        }
        timeout = timeout or Timeout()
        _settings.check(protocol, concurrency)
        self._sender = AsyncSender(
            _settings.transports(url, protocol, timeout, transport, kinds, shared_memory),
            timeout,
            retry or Retry(),
            balancing or Balancing(),
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
        await self._sender.close()

    async def acceptability(
        self,
        sentences: Iterable[str],
        *,
        model: str = contract.COLA.name,
        on_truncation: _tasks.OnTruncation = _tasks.warn_of_truncation,
    ) -> npt.NDArray[np.float32]:
        """Return each sentence's probability of being acceptable; see :meth:`TridentClient.acceptability`."""
        return await self._list(_tasks.Acceptability(model), sentences, on_truncation)

    async def answer(
        self,
        question: str,
        context: str,
        top_k: int = 1,
        *,
        model: str = contract.QA.name,
        max_answer_tokens: int | None = None,
    ) -> list[Answer]:
        """Return the likeliest answers to a question; see :meth:`TridentClient.answer`."""
        found = await self.answer_many([(question, context)], top_k, model=model, max_answer_tokens=max_answer_tokens)
        return found[0]

    async def answer_many(
        self,
        questions: Iterable[tuple[str, str]],
        top_k: int = 1,
        *,
        model: str = contract.QA.name,
        max_answer_tokens: int | None = None,
    ) -> list[list[Answer]]:
        """Return each question's likeliest answers; see :meth:`TridentClient.answer_many`."""
        return await self._list(_tasks.Answers(model, top_k, max_answer_tokens), questions)

    async def embed(
        self,
        texts: Iterable[str],
        *,
        model: str = contract.STS.name,
        on_truncation: _tasks.OnTruncation = _tasks.warn_of_truncation,
        on_token_counts: _tasks.OnTokenCounts | None = None,
    ) -> npt.NDArray[np.float32]:
        """Return each text's embedding; see :meth:`TridentClient.embed`."""
        task = _tasks.Embedding(model, count_tokens=on_token_counts is not None)
        return await self._list(task, texts, on_truncation, on_token_counts)

    async def predict(
        self,
        task: str,
        items: Iterable[Any],
        *,
        model: str | None = None,
        numbers: Mapping[str, int] | None = None,
        on_truncation: _tasks.OnTruncation = _tasks.warn_of_truncation,
    ) -> list[dict[str, Any]]:
        """Return what any task says of each item; see :meth:`TridentClient.predict`."""
        return await self._list(_tasks.Prediction(task, model, numbers), items, on_truncation)

    async def similarity(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        model: str = contract.STS.name,
        on_truncation: _tasks.OnTruncation = _tasks.warn_of_truncation,
    ) -> npt.NDArray[np.float32]:
        """Return each pair's cosine; see :meth:`TridentClient.similarity`."""
        return await self._list(_tasks.Similarity(model), pairs, on_truncation)

    def stream_acceptability(
        self,
        sentences: Iterable[str] | AsyncIterable[str],
        *,
        model: str = contract.COLA.name,
        on_truncation: _tasks.OnTruncation = _tasks.warn_of_truncation,
        on_bad_item: _tasks.OnBadItem | None = None,
        concurrency: int | None = None,
    ) -> AsyncGenerator[float, None]:
        """Yield each sentence's probability of being acceptable; see :meth:`TridentClient.stream_acceptability`."""
        return self._stream(_tasks.Acceptability(model), sentences, on_truncation, on_bad_item, concurrency=concurrency)

    def stream_answers(
        self,
        questions: Iterable[tuple[str, str]] | AsyncIterable[tuple[str, str]],
        top_k: int = 1,
        *,
        model: str = contract.QA.name,
        max_answer_tokens: int | None = None,
        on_bad_item: _tasks.OnBadItem | None = None,
        concurrency: int | None = None,
    ) -> AsyncGenerator[list[Answer], None]:
        """Yield each question's likeliest answers; see :meth:`TridentClient.stream_answers`."""
        return self._stream(
            _tasks.Answers(model, top_k, max_answer_tokens), questions, on_bad_item=on_bad_item, concurrency=concurrency
        )

    def stream_embeddings(
        self,
        texts: Iterable[str] | AsyncIterable[str],
        *,
        model: str = contract.STS.name,
        on_truncation: _tasks.OnTruncation = _tasks.warn_of_truncation,
        on_token_counts: _tasks.OnTokenCounts | None = None,
        on_bad_item: _tasks.OnBadItem | None = None,
        concurrency: int | None = None,
    ) -> AsyncGenerator[npt.NDArray[np.float32], None]:
        """Yield each text's embedding; see :meth:`TridentClient.stream_embeddings`."""
        task = _tasks.Embedding(model, count_tokens=on_token_counts is not None)
        return self._stream(task, texts, on_truncation, on_bad_item, on_token_counts, concurrency)

    def stream_predictions(
        self,
        task: str,
        items: Iterable[Any] | AsyncIterable[Any],
        *,
        model: str | None = None,
        numbers: Mapping[str, int] | None = None,
        on_truncation: _tasks.OnTruncation = _tasks.warn_of_truncation,
        on_bad_item: _tasks.OnBadItem | None = None,
        concurrency: int | None = None,
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield what any task says of each item; see :meth:`TridentClient.stream_predictions`."""
        return self._stream(
            _tasks.Prediction(task, model, numbers), items, on_truncation, on_bad_item, concurrency=concurrency
        )

    def stream_similarity(
        self,
        pairs: Iterable[tuple[str, str]] | AsyncIterable[tuple[str, str]],
        *,
        model: str = contract.STS.name,
        on_truncation: _tasks.OnTruncation = _tasks.warn_of_truncation,
        on_bad_item: _tasks.OnBadItem | None = None,
        concurrency: int | None = None,
    ) -> AsyncGenerator[float, None]:
        """Yield each pair's cosine; see :meth:`TridentClient.stream_similarity`."""
        return self._stream(_tasks.Similarity(model), pairs, on_truncation, on_bad_item, concurrency=concurrency)

    async def infer(self, request: Request) -> Response:
        """Return the outputs of any model that is served; see :meth:`TridentClient.infer`."""
        return await self._sender.infer(request)

    async def models(self) -> list[ModelInfo]:
        """Return the sets of models that are served; see :meth:`TridentClient.models`."""
        names = sorted(await self._sender.ask(lambda transport, seconds: transport.index()))
        found = await asyncio.gather(*map(self._configuration, names))
        return _served.model_infos(dict(zip(names, found, strict=True)))

    async def ready(self) -> bool:
        """Say whether every model answers; see :meth:`TridentClient.ready`."""
        return await self._sender.ready(contract.served_models())

    def servers(self) -> list[ServerStatus]:
        """Return what this client knows of each server; see :meth:`TridentClient.servers`."""
        return self._sender.statuses()

    async def statistics(self) -> list[ModelStatistics]:
        """Return what each server has counted; see :meth:`TridentClient.statistics`."""
        return _served.model_statistics(await self._sender.each(lambda transport: transport.statistics()))

    async def _configuration(self, name: str) -> Mapping[str, Any]:
        return await self._sender.ask(lambda transport, seconds: transport.configuration(name), name)

    async def _list(
        self,
        task: _tasks.Task[_tasks.Item, _tasks.Value, _tasks.Result],
        items: Iterable[_tasks.Item],
        on_truncation: _tasks.OnTruncation = _tasks.warn_of_truncation,
        on_token_counts: _tasks.OnTokenCounts | None = None,
    ) -> _tasks.Result:
        # Every item is looked at before the first is sent.
        jobs = [
            _batches.Batch(each.start, each.items, task.request(each.items, each.start))
            for each in _batches.batches(_tasks.checked(items, task), task.batch)
        ]
        parts = [part async for part in self._parts(task, _batches.asynchronous(jobs))]
        if truncated := [index for part in parts for index in part.truncated]:
            on_truncation(truncated)
        if on_token_counts is not None:
            on_token_counts([count for part in parts for count in part.token_counts])
        return task.join([part.values for part in parts])

    async def _stream(
        self,
        task: _tasks.Task[_tasks.Item, _tasks.Value, _tasks.Result],
        items: Iterable[_tasks.Item] | AsyncIterable[_tasks.Item],
        on_truncation: _tasks.OnTruncation = _tasks.warn_of_truncation,
        on_bad_item: _tasks.OnBadItem | None = None,
        on_token_counts: _tasks.OnTokenCounts | None = None,
        concurrency: int | None = None,
    ) -> AsyncGenerator[_tasks.Value, None]:
        jobs = _batches.async_batches(_tasks.checked(items, task), task.batch)
        keep_going = on_bad_item is not None
        async with aclosing(self._parts(task, jobs, keep_going=keep_going, concurrency=concurrency)) as parts:
            async for part in parts:
                if part.truncated:
                    on_truncation(part.truncated)
                if on_token_counts is not None:
                    on_token_counts(part.token_counts)
                for index, value in enumerate(part.values, part.start):
                    if on_bad_item is not None and index in part.bad:
                        on_bad_item(index, part.bad[index])
                    yield task.single(value)

    async def _parts(
        self,
        task: _tasks.Task[Any, Any, Any],
        jobs: AsyncIterable[_batches.Batch[Any]],
        *,
        keep_going: bool = False,
        concurrency: int | None = None,
    ) -> AsyncGenerator[_batches.Part, None]:
        async def work(job: _batches.Batch[Any]) -> _batches.Part:
            return await _batches.async_run(_batches.steps(task, job, keep_going=keep_going), self._sender.infer)

        most = self._concurrency if concurrency is None else concurrency
        _settings.check_concurrency(most)
        async with aclosing(_batches.async_in_order(work, jobs, most, most * _settings.AHEAD)) as parts:
            async for part in parts:
                yield part
