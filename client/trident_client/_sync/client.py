# Made from ../_async/client.py by scripts/unasync.py: change that, not this.
"""The client: every task as a list and as a stream, and what is known of the servers."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from functools import partial
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from trident_client import _batches, _callbacks, _served, _settings, _tasks, contract
from trident_client._balancing import Balancing, ServerStatus
from trident_client._retry import Retry
from trident_client._sync.batches import batches
from trident_client._sync.concurrency import Event, in_order
from trident_client._sync.driving import drive
from trident_client._sync.sending import Sender
from trident_client._sync.transport import Transport
from trident_client._types import (
    Answer,
    Label,
    ModelInfo,
    ModelStatistics,
    Ranked,
    Request,
    Response,
    Timeout,
    Tls,
)
from trident_client.encoding import EncodingFormat
from trident_client.errors import BadInputError, TridentError
from trident_client.text import unread_language


class TridentClient:
    """Talks to Triton, from any number of threads.

    Lists longer than a batch are split, sent over up to ``concurrency`` requests at a time, and answered in order. The
    ``stream_*`` methods do the same for inputs that do not fit into memory; who stops reading one before its end closes
    it, as :func:`contextlib.closing` does, so that nothing of it stays under way.

    Args:
        url: ``host:port`` of Triton, or of several that serve the same models; the local server's when not given.
        protocol: ``http`` or ``grpc``.
        timeout: seconds for the connection, for an answer, and for a request with all its attempts.
        concurrency: how many requests of one list or stream are under way at once.
        transport: carries the requests in place of ``url`` and ``protocol``, such as :class:`FakeTransport`; or
            several by name.
        retry: what is done when a request fails.
        balancing: what is done when one of several servers fails.
        shared_memory: hand large batches over in system shared memory; for a server on this host that lets clients do
            so (``trident-serve --shared-memory``).
        tls: encrypt, and trust whom this says; Triton itself does so over gRPC alone, a proxy in front over HTTP too.
        check_languages: warn, once for a set of models, of Korean text that it was not made for; what it was made for
            is asked when the first such text comes.

    Raises:
        TridentError: from every method; see :mod:`trident_client.errors` for the tree.
        ValueError: an argument means nothing; says what is accepted.
    """

    def __init__(
        self,
        url: str | Sequence[str] | None = None,
        *,
        protocol: _settings.Protocol = "http",
        timeout: Timeout | None = None,
        concurrency: int = 4,
        transport: Transport | Mapping[str, Transport] | None = None,
        retry: Retry | None = None,
        balancing: Balancing | None = None,
        shared_memory: bool = False,
        tls: Tls | None = None,
        check_languages: bool = True,
    ) -> None:
        _settings.check(protocol, concurrency, timeout=timeout, retry=retry, balancing=balancing, tls=tls)
        factory: _settings.TransportFactory[Transport]
        # Each takes longer to import than all the rest, which those who read the contract alone import, too.
        if protocol == "grpc":
            from trident_client._sync.grpc import GrpcTransport

            factory = GrpcTransport
        else:
            from trident_client._sync.http import HttpTransport

            factory = HttpTransport
        self._sender = Sender(
            *_settings.servers(url, protocol, timeout or Timeout(), transport, factory, shared_memory, tls),
            timeout or Timeout(),
            retry or Retry(),
            balancing or Balancing(),
        )
        self._concurrency = concurrency
        # Sets of models that were looked up; None where nothing is.
        self._looked_up: set[str] | None = set() if check_languages else None
        self._remade = partial(
            type(self),
            url,
            protocol=protocol,
            timeout=timeout,
            concurrency=concurrency,
            transport=transport,
            retry=retry,
            balancing=balancing,
            shared_memory=shared_memory,
            tls=tls,
            check_languages=check_languages,
        )

    def __reduce__(self) -> tuple[partial[TridentClient], tuple[()]]:
        """Pickle how the client was made; what comes of it has connections of its own."""
        return self._remade, ()

    def __enter__(self) -> TridentClient:
        """Return the client; leaving closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the connections; calls under way fail."""
        self._sender.close()

    def acceptability(
        self,
        sentences: Iterable[str],
        *,
        model: str = contract.COLA.name,
        on_truncation: _callbacks.OnTruncation = _callbacks.warn_of_truncation,
        on_unknown: _callbacks.OnUnknown = _callbacks.warn_of_unknown,
        truncate: _tasks.Truncate = "right",
    ) -> npt.NDArray[np.float32]:
        """Return each sentence's probability of being grammatically acceptable, float32 ``[n]``, 0 to 1.

        Args:
            sentences: any number of sentences, none of them empty.
            model: the set of models that judges, as :meth:`models` lists them.
            on_truncation: called with the indices of sentences longer than the model takes; warns by default.
            on_unknown: the same of those with words or symbols that the vocabulary cannot read.
            truncate: which end a sentence loses that is too long, or ``error``; see :meth:`embed`.
        """
        return self._list(_tasks.Acceptability(model, truncate=truncate), sentences, on_truncation, on_unknown)

    def answer(
        self,
        question: str,
        context: str,
        top_k: int = 1,
        *,
        model: str = contract.QA.name,
        max_answer_tokens: int | None = None,
        no_answer: bool = True,
        on_unknown: _callbacks.OnUnknown = _callbacks.warn_of_unknown,
    ) -> list[Answer]:
        """Return the likeliest answers to a question, the best first; ``context[start:end]`` is each answer's text.

        A model that was taught that some questions have no answer in their context says so by an empty text at 0, which
        then comes first: its score is the probability that there is none.

        Args:
            question: not empty.
            context: the text that holds the answer, of any length up to the server's limit in bytes; not empty.
            top_k: how many answers are wanted, 1 to 100; fewer come where the context has no more, or none with a
                hundredth of the first one's score.
            model: the set of models that answers, as :meth:`models` lists them.
            max_answer_tokens: tokens in the longest answer, 1 to 512; 30 when None.
            no_answer: whether the model may say that there is none.
            on_unknown: called with [0], the question's number, where it or its context has words or symbols that the
                vocabulary cannot read.
        """
        [answers] = self.answer_many(
            [(question, context)],
            top_k,
            model=model,
            max_answer_tokens=max_answer_tokens,
            no_answer=no_answer,
            on_unknown=on_unknown,
        )
        return answers

    def answer_many(
        self,
        questions: Iterable[tuple[str, str]],
        top_k: int = 1,
        *,
        model: str = contract.QA.name,
        max_answer_tokens: int | None = None,
        no_answer: bool = True,
        on_unknown: _callbacks.OnUnknown = _callbacks.warn_of_unknown,
    ) -> list[list[Answer]]:
        """Return each question's likeliest answers; as many questions as ``concurrency`` allows are under way at once.

        Args:
            questions: any number of questions, each with its context.
            top_k: answers wanted for each; see :meth:`answer`.
            model: the set of models that answers; see :meth:`models`.
            max_answer_tokens: tokens in the longest answer; see :meth:`answer`.
            no_answer: whether the model may say that there is none; see :meth:`answer`.
            on_unknown: called with the numbers of the questions that have words or symbols that the vocabulary cannot
                read, in themselves or in their contexts.
        """
        task = _tasks.Answers(model, top_k, max_answer_tokens, no_answer=no_answer)
        return self._list(task, questions, on_unknown=on_unknown)

    def classify(
        self,
        texts: Iterable[str | tuple[str, str]],
        *,
        model: str = contract.CLASSIFY.name,
        raw_scores: bool = False,
        on_truncation: _callbacks.OnTruncation = _callbacks.warn_of_truncation,
        on_unknown: _callbacks.OnUnknown = _callbacks.warn_of_unknown,
        truncate: _tasks.Truncate = "right",
    ) -> list[list[Label]]:
        """Return all labels of a classifier for each text, or pair of texts, with their scores, the best first.

        Scores of labels of which a text has exactly one are probabilities that add up to 1; where it may have several,
        each is one of its own, and :meth:`models` tells the threshold from which a text has it.

        Args:
            texts: any number of texts, or of pairs that the model reads together, none of them empty.
            model: the set of models that classifies, as :meth:`models` lists them.
            raw_scores: logits in place of probabilities.
            on_truncation: called with the indices of texts longer than the model takes; warns by default.
            on_unknown: the same of those with words or symbols that the vocabulary cannot read.
            truncate: which end a text loses that is too long, or ``error``, see :meth:`embed`; of a pair both do,
                the longer first.
        """
        task = _tasks.Labels(model, raw_scores=raw_scores, truncate=truncate)
        return self._list(task, texts, on_truncation, on_unknown)

    def embed(
        self,
        texts: Iterable[str],
        *,
        model: str = contract.STS.name,
        on_truncation: _callbacks.OnTruncation = _callbacks.warn_of_truncation,
        on_unknown: _callbacks.OnUnknown = _callbacks.warn_of_unknown,
        on_token_counts: _callbacks.OnTokenCounts | None = None,
        prompt_name: str | None = None,
        truncate: _tasks.Truncate = "right",
        encoding_format: EncodingFormat = "float",
        input_type: contract.InputType | None = None,
    ) -> npt.NDArray[Any]:
        """Return each text's embedding, float32 ``[n, dim]``, unit norm.

        Args:
            texts: any number of texts, none of them empty.
            model: the set of models that embeds, as :meth:`models` lists them.
            on_truncation: called with the indices of texts longer than the encoder takes; warns by default.
            on_unknown: the same of those with words or symbols that the vocabulary cannot read.
            on_token_counts: called with how many tokens of each text the encoder read, specials included; in a stream
                with those of the next few texts, before their results come, and 0 for one that is not taken.
            prompt_name: which of the set's prompts stands in front of each text, such as ``query``, as :meth:`models`
                lists them; the set's default when None.
            truncate: which end a text loses that is longer than the encoder takes, ``right`` or ``left``, its prompt
                with it; ``error`` refuses it, after the encoder has read all, and names it.
            encoding_format: ``int8`` for int8 ``[n, dim]``, the greatest component of each 127 in size, so that cosines
                are nearly the same; ``binary`` or ``ubinary`` for the components' signs, eight a number, int8 or uint8
                ``[n, ceil(dim / 8)]``.
            input_type: in place of ``prompt_name``: what the texts are, ``query`` or ``passage``, ``document`` being
                another word for it, so that the set's prompt for such stands in front; one without takes all alike.
        """
        task = _tasks.Embedding(
            model, count_tokens=on_token_counts is not None, truncate=truncate, encoding_format=encoding_format
        )
        found = self._list(task, texts, on_truncation, on_unknown, on_token_counts, prompt_name, input_type)
        if len(found):
            return found
        configuration = self._sender.configuration(task.model)
        return task.none(_served.dimension(configuration) or 0)

    def predict(
        self,
        task: str,
        items: Iterable[Any],
        *,
        model: str | None = None,
        numbers: Mapping[str, int] | None = None,
        on_truncation: _callbacks.OnTruncation = _callbacks.warn_of_truncation,
        on_unknown: _callbacks.OnUnknown = _callbacks.warn_of_unknown,
        on_token_counts: _callbacks.OnTokenCounts | None = None,
        truncate: _tasks.Truncate = "right",
    ) -> list[dict[str, Any]]:
        """Return what any task of :mod:`trident_client.contract` says of each item, by the names of its fields.

        A field of one number is a number, of several an array, float32 or int32 ``[k]``; of texts a list of them.

        Args:
            task: name of a task's ensemble, such as ``cola`` or ``embed``, or of one that was registered.
            items: any number of texts, or of tuples where an item has several.
            model: the set of models that answers, as :meth:`models` lists them; the task's own when None.
            numbers: further inputs by name, such as ``{"top_k": 3}``.
            on_truncation: called with the indices of items longer than the model takes; warns by default.
            on_unknown: the same of those with words or symbols that the vocabulary cannot read.
            on_token_counts: called with how many tokens of each item were read, where the task counts them.
            truncate: which end a text loses that is too long, or ``error``; see :meth:`embed`. A task that cuts no
                beginnings, such as ``qa``, refuses ``left``.
        """
        counted = on_token_counts is not None
        prediction = _tasks.Prediction(task, model, numbers, count_tokens=counted, truncate=truncate)
        return self._list(prediction, items, on_truncation, on_unknown, on_token_counts)

    def rerank(
        self,
        query: str,
        texts: Iterable[str],
        *,
        model: str = contract.RERANK.name,
        top_n: int | None = None,
        raw_scores: bool = False,
        on_truncation: _callbacks.OnTruncation = _callbacks.warn_of_truncation,
        on_unknown: _callbacks.OnUnknown = _callbacks.warn_of_unknown,
        truncate: _tasks.Truncate = "right",
    ) -> list[Ranked]:
        """Return texts by how well they belong to a query, the best first, as a cross-encoder has it that reads both.

        Args:
            query: what they are to answer; not empty.
            texts: any number of texts, none of them empty.
            model: the set of models that compares, as :meth:`models` lists them.
            top_n: so many of the best; all when None.
            raw_scores: logits in place of scores of 0 to 1.
            on_truncation: called with the indices of texts that, with the query, are longer than the model takes; warns
                by default.
            on_unknown: the same of those with words or symbols that the vocabulary cannot read.
            truncate: which end the query and a text lose, the longer of both first, that together are too long, or
                ``error``; see :meth:`embed`.
        """
        task = _tasks.Relevance(model, raw_scores=raw_scores, truncate=truncate)
        pairs = [(query, text) for text in _tasks.checked(texts, task)]
        scores = self._list(task, pairs, on_truncation, on_unknown)
        return [Ranked(int(each), float(scores[each])) for each in np.argsort(-scores, kind="stable")[:top_n]]

    def similarity(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        model: str = contract.STS.name,
        on_truncation: _callbacks.OnTruncation = _callbacks.warn_of_truncation,
        on_unknown: _callbacks.OnUnknown = _callbacks.warn_of_unknown,
        prompt_name: str | None = None,
        truncate: _tasks.Truncate = "right",
        input_type: contract.InputType | None = None,
    ) -> npt.NDArray[np.float32]:
        """Return each pair's cosine, float32 ``[n]``, -1 to 1.

        Args:
            pairs: any number of pairs of sentences, none of them empty.
            model: the set of models that compares, as :meth:`models` lists them.
            on_truncation: called with the indices of pairs longer than the encoder takes; warns by default.
            on_unknown: the same of those with words or symbols that the vocabulary cannot read.
            prompt_name: which of the set's prompts stands in front of each sentence; see :meth:`embed`.
            truncate: which end a sentence loses that is too long, or ``error``; see :meth:`embed`.
            input_type: what the sentences are, in place of ``prompt_name``; see :meth:`embed`.
        """
        task = _tasks.Similarity(model, truncate=truncate)
        return self._list(task, pairs, on_truncation, on_unknown, prompt_name=prompt_name, input_type=input_type)

    def stream_acceptability(
        self,
        sentences: Iterable[str],
        *,
        model: str = contract.COLA.name,
        on_truncation: _callbacks.OnTruncation = _callbacks.warn_of_truncation,
        on_unknown: _callbacks.OnUnknown = _callbacks.warn_of_unknown,
        on_bad_item: _callbacks.OnBadItem | None = None,
        concurrency: int | None = None,
        truncate: _tasks.Truncate = "right",
    ) -> Generator[float, None, None]:
        """Yield each sentence's probability of being acceptable, in order, reading only a few batches ahead.

        Args:
            sentences: as many as there are; read while the results are taken.
            model: see :meth:`acceptability`.
            on_truncation: called with the indices, counted from the stream's beginning, before their results come.
            on_unknown: the same.
            on_bad_item: called with the index of a sentence that the model does not take, and the error, before its
                result, which is NaN; where it is not given, the error is raised and the stream ends.
            concurrency: how many requests of this stream are under way at once; as many as of the client's others when
                None.
            truncate: see :meth:`acceptability`.
        """
        task = _tasks.Acceptability(model, truncate=truncate)
        return self._stream(task, sentences, on_truncation, on_unknown, on_bad_item, concurrency=concurrency)

    def stream_answers(
        self,
        questions: Iterable[tuple[str, str]],
        top_k: int = 1,
        *,
        model: str = contract.QA.name,
        max_answer_tokens: int | None = None,
        no_answer: bool = True,
        on_unknown: _callbacks.OnUnknown = _callbacks.warn_of_unknown,
        on_bad_item: _callbacks.OnBadItem | None = None,
        concurrency: int | None = None,
    ) -> Generator[list[Answer], None, None]:
        """Yield each question's likeliest answers, in order; see :meth:`answer_many` and :meth:`stream_acceptability`.

        A question that is not taken has no answers.
        """
        task = _tasks.Answers(model, top_k, max_answer_tokens, no_answer=no_answer)
        return self._stream(task, questions, on_unknown=on_unknown, on_bad_item=on_bad_item, concurrency=concurrency)

    def stream_classifications(
        self,
        texts: Iterable[str | tuple[str, str]],
        *,
        model: str = contract.CLASSIFY.name,
        raw_scores: bool = False,
        on_truncation: _callbacks.OnTruncation = _callbacks.warn_of_truncation,
        on_unknown: _callbacks.OnUnknown = _callbacks.warn_of_unknown,
        on_bad_item: _callbacks.OnBadItem | None = None,
        concurrency: int | None = None,
        truncate: _tasks.Truncate = "right",
    ) -> Generator[list[Label], None, None]:
        """Yield each text's labels, in order; see :meth:`classify` and :meth:`stream_acceptability`.

        A text that is not taken has no labels.
        """
        task = _tasks.Labels(model, raw_scores=raw_scores, truncate=truncate)
        return self._stream(task, texts, on_truncation, on_unknown, on_bad_item, concurrency=concurrency)

    def stream_embeddings(
        self,
        texts: Iterable[str],
        *,
        model: str = contract.STS.name,
        on_truncation: _callbacks.OnTruncation = _callbacks.warn_of_truncation,
        on_unknown: _callbacks.OnUnknown = _callbacks.warn_of_unknown,
        on_token_counts: _callbacks.OnTokenCounts | None = None,
        on_bad_item: _callbacks.OnBadItem | None = None,
        concurrency: int | None = None,
        prompt_name: str | None = None,
        truncate: _tasks.Truncate = "right",
        encoding_format: EncodingFormat = "float",
        input_type: contract.InputType | None = None,
    ) -> Generator[npt.NDArray[Any], None, None]:
        """Yield each text's embedding, float32 ``[dim]``, in order; see :meth:`embed` and :meth:`stream_acceptability`.

        The embedding of a text that is not taken is empty: ``[0]``.
        """
        task = _tasks.Embedding(
            model, count_tokens=on_token_counts is not None, truncate=truncate, encoding_format=encoding_format
        )
        return self._stream(
            task, texts, on_truncation, on_unknown, on_bad_item, on_token_counts, concurrency, prompt_name, input_type
        )

    def stream_predictions(
        self,
        task: str,
        items: Iterable[Any],
        *,
        model: str | None = None,
        numbers: Mapping[str, int] | None = None,
        on_truncation: _callbacks.OnTruncation = _callbacks.warn_of_truncation,
        on_unknown: _callbacks.OnUnknown = _callbacks.warn_of_unknown,
        on_bad_item: _callbacks.OnBadItem | None = None,
        concurrency: int | None = None,
        truncate: _tasks.Truncate = "right",
    ) -> Generator[dict[str, Any], None, None]:
        """Yield what a task says of each item, in order; see :meth:`predict` and :meth:`stream_acceptability`.

        Of an item that is not taken nothing is said: its mapping is empty.
        """
        return self._stream(
            _tasks.Prediction(task, model, numbers, truncate=truncate),
            items,
            on_truncation,
            on_unknown,
            on_bad_item,
            concurrency=concurrency,
        )

    def stream_similarity(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        model: str = contract.STS.name,
        on_truncation: _callbacks.OnTruncation = _callbacks.warn_of_truncation,
        on_unknown: _callbacks.OnUnknown = _callbacks.warn_of_unknown,
        on_bad_item: _callbacks.OnBadItem | None = None,
        concurrency: int | None = None,
        prompt_name: str | None = None,
        truncate: _tasks.Truncate = "right",
        input_type: contract.InputType | None = None,
    ) -> Generator[float, None, None]:
        """Yield each pair's cosine, in order; see :meth:`similarity` and :meth:`stream_acceptability`."""
        task = _tasks.Similarity(model, truncate=truncate)
        return self._stream(
            task,
            pairs,
            on_truncation,
            on_unknown,
            on_bad_item,
            concurrency=concurrency,
            prompt_name=prompt_name,
            input_type=input_type,
        )

    def infer(self, request: Request) -> Response:
        """Return the outputs of any model that is served; nothing is split, checked or joined.

        Args:
            request: model, inputs as arrays (texts as objects of ``bytes``), and the outputs that are wanted.
        """
        return self._sender.infer(request)

    def models(self) -> list[ModelInfo]:
        """Return the sets of models that are served, by name, and what is known of each.

        Raises:
            TransportError: no server can be reached.
        """
        names = sorted(self._sender.call(lambda transport, seconds: transport.index()))
        configurations = list(in_order(self._configuration, names, self._concurrency, len(names) + 1))
        return _served.model_infos(dict(zip(names, configurations, strict=True)))

    def ready(self, models: Sequence[str] = ()) -> bool:
        """Say whether models answer, of one server at least.

        Args:
            models: which, by name; those of every task under its own name by default.

        Raises:
            TransportError: no server can be reached.
        """
        return self._sender.ready(tuple(models) or contract.served_models())

    def servers(self) -> list[ServerStatus]:
        """Return what this client knows of each server that it was given; asks nobody."""
        return self._sender.statuses()

    def statistics(self) -> list[ModelStatistics]:
        """Return what each server that can be reached has counted, by server and model.

        Raises:
            TransportError: no server can be reached.
        """
        return _served.model_statistics(self._sender.call_each(lambda transport: transport.statistics()))

    def _configuration(self, name: str, stop: Event) -> Mapping[str, Any]:
        return self._sender.call(lambda transport, seconds: transport.configuration(name), name, stop)

    def _list(
        self,
        task: _tasks.Task[_tasks.Item, _tasks.Value, _tasks.Result],
        items: Iterable[_tasks.Item],
        on_truncation: _callbacks.OnTruncation = _callbacks.warn_of_truncation,
        on_unknown: _callbacks.OnUnknown = _callbacks.warn_of_unknown,
        on_token_counts: _callbacks.OnTokenCounts | None = None,
        prompt_name: str | None = None,
        input_type: contract.InputType | None = None,
    ) -> _tasks.Result:
        # Of no items, nothing would be sent that says so.
        self._sender.enter()
        self._look_up(task, prompt_name, input_type)
        # Every item is looked at before the first is sent.
        jobs = [
            _batches.Batch(each.start, each.items, task.request(each.items, each.start))
            for each in batches(_tasks.checked(items, task), task.batch)
        ]
        # A single request needs neither a thread nor a task of its own.
        results = [self._send(task, jobs[0])] if len(jobs) == 1 else list(self._send_all(task, jobs))
        if truncated := [index for result in results for index in result.truncated]:
            on_truncation(truncated)
        if unknown := [index for result in results for index in result.unknown]:
            on_unknown(unknown)
        if on_token_counts is not None:
            on_token_counts([count for result in results for count in result.token_counts])
        return task.join([result.values for result in results])

    def _stream(
        self,
        task: _tasks.Task[_tasks.Item, _tasks.Value, _tasks.Result],
        items: Iterable[_tasks.Item],
        on_truncation: _callbacks.OnTruncation = _callbacks.warn_of_truncation,
        on_unknown: _callbacks.OnUnknown = _callbacks.warn_of_unknown,
        on_bad_item: _callbacks.OnBadItem | None = None,
        on_token_counts: _callbacks.OnTokenCounts | None = None,
        concurrency: int | None = None,
        prompt_name: str | None = None,
        input_type: contract.InputType | None = None,
    ) -> Generator[_tasks.Value, None, None]:
        # Of no items, nothing would be sent that says so.
        self._sender.enter()
        self._look_up(task, prompt_name, input_type)
        jobs = batches(_tasks.checked(items, task), task.batch)
        keep_going = on_bad_item is not None
        with closing(self._send_all(task, jobs, keep_going=keep_going, concurrency=concurrency)) as results:
            for result in results:
                if result.truncated:
                    on_truncation(result.truncated)
                if result.unknown:
                    on_unknown(result.unknown)
                if on_token_counts is not None:
                    on_token_counts(result.token_counts)
                for index, value in enumerate(result.values, result.start):
                    if on_bad_item is not None and index in result.bad:
                        on_bad_item(index, result.bad[index])
                    yield task.single(value)

    def _send_all(
        self,
        task: _tasks.Task[Any, Any, Any],
        jobs: Iterable[_batches.Batch[Any]],
        *,
        keep_going: bool = False,
        concurrency: int | None = None,
    ) -> Generator[_batches.BatchResult, None, None]:
        def work(job: _batches.Batch[Any], stop: Event) -> _batches.BatchResult:
            return self._send(task, job, stop, keep_going=keep_going)

        limit = self._concurrency if concurrency is None else concurrency
        _settings.check_concurrency(limit)
        return in_order(work, jobs, limit, limit * _settings.PREFETCH)

    def _send(
        self,
        task: _tasks.Task[Any, Any, Any],
        job: _batches.Batch[Any],
        stop: Event | None = None,
        *,
        keep_going: bool = False,
    ) -> _batches.BatchResult:
        steps = _batches.steps(task, job, keep_going=keep_going)
        result = drive(steps, lambda request: self._sender.infer(request, stop))
        self._check_language(task, job.items)
        return result

    def _look_up(
        self, task: _tasks.Task[Any, Any, Any], prompt_name: str | None, input_type: contract.InputType | None
    ) -> None:
        """Have a task know what the set's configuration tells: a prompt that is asked for, or the labels."""
        found = task.ensemble.set_of(task.model)
        if isinstance(task, _tasks.Labels):
            # Anew for every list: a set that is exported again may have others.
            main = self._sender.configuration(found)
            task.labels = _served.model_info(found, main, None, None).labels
            if not task.labels:
                raise BadInputError(f"{found} has no labels; a set of the task {task.ensemble.name} is accepted", found)
        if prompt_name is not None or input_type is not None:
            tokenizer = self._sender.configuration(_served.tokenizer(found))
            task.prompt = _served.model_info(found, None, None, tokenizer).prompt_for(prompt_name, input_type)

    def _check_language(self, task: _tasks.Task[Any, Any, Any], items: Sequence[Any]) -> None:
        name = task.ensemble.set_of(task.model)
        # Nothing is asked of a server for texts that every set may have read.
        if self._looked_up is None or name in self._looked_up or not unread_language(items, ["und"]):
            return
        self._looked_up.add(name)
        try:
            configuration = self._sender.call(lambda transport, seconds: transport.configuration(name), name)
        except TridentError:
            # The answer is there; who cannot be asked for more need not fail for it.
            return
        languages = _served.languages(configuration)
        if language := unread_language(items, languages):
            _callbacks.warn_of_language(name, language, languages)
