"""Every inference of the facade: admitted, bounded in time, measured, and carried out by the client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from trident_client import (
    Answer,
    AsyncTridentClient,
    DeadlineError,
    ModelInfo,
    NotReadyError,
    OverloadedError,
    TridentError,
    contract,
)
from trident_client.contract import InputType
from trident_client.text import unread_language

from trident_api.admission import Admission, Kind, RefusedError
from trident_api.allowance import Allowance
from trident_api.call import Call
from trident_api.catalogue import Catalogue
from trident_api.hangs import HangDetector
from trident_api.joining import Joiner
from trident_api.metrics import Metrics
from trident_api.work import kind_of, work_of

Pairs = Sequence[tuple[str, str]]
Values = npt.NDArray[np.float32]


class Result(NamedTuple):
    """What a model says of one text or pair.

    Attributes:
        value: a number, float32; an embedding, float32 ``[dim]``; or what the model says by field.
        truncated: whether it was longer than the model takes.
        unknown: whether it has tokens that the model's vocabulary does not know.
        tokens: how many were read, specials included; not told of acceptability and similarity.
    """

    value: Any
    truncated: bool
    unknown: bool
    tokens: int = 0


class PairResult(NamedTuple):
    """What became of one pair of a file.

    Attributes:
        score: cosine, -1 to 1.
        similar: whether it reaches the threshold.
        truncated: whether a sentence was longer than the encoder takes.
        unknown: whether one has tokens that the vocabulary does not know.
    """

    score: float
    similar: bool
    truncated: bool
    unknown: bool


#: Infers items of one task: with any model, and options of its own; with one.
TaskInference = Callable[..., Awaitable[Sequence[Result]]]
ModelInference = Callable[[Sequence[Any]], Awaitable[Sequence[Result]]]


class Inference:
    """The tasks, as endpoints call them. What each took is noted in its call and in the metrics.

    Args:
        client: carries out the inferences.
        catalogue: knows which sets of models are served.
        admission: the queue in front of Triton.
        metrics: counts.
        tokens: what each key has left of its tokens.
        deadline: seconds that a request may take, its wait included.
        threshold: cosine from which sentences are similar, in place of the model's own.
        joining: whether requests that come together are carried to Triton together.

    Raises:
        TridentError: from every method; ``OverloadedError`` when the queue is full, ``DeadlineError`` when time is up.
    """

    def __init__(
        self,
        client: AsyncTridentClient,
        catalogue: Catalogue,
        admission: Admission,
        metrics: Metrics,
        tokens: Allowance,
        deadline: float,
        threshold: float | None,
        *,
        joining: bool,
    ) -> None:
        self.client = client
        self._catalogue = catalogue
        self._admission = admission
        self._metrics = metrics
        self._tokens = tokens
        self._deadline = deadline
        self._threshold = threshold
        self._joining = joining
        self.hangs = HangDetector(client)
        self._tasks: dict[str, TaskInference] = {
            "cola": partial(self._numbers, client.acceptability),
            "sts": partial(self._numbers, client.similarity),
            "embed": partial(self._counted, client.embed),
            "classify": partial(self._counted, partial(client.predict, "classify")),
            "rerank": partial(self._counted, partial(client.predict, "rerank")),
        }
        # By task and model, and whether texts lose their beginnings: only models that are served get one.
        self._inferences: dict[tuple[str, str, bool], ModelInference] = {}

    async def acceptability(
        self, call: Call, sentences: Sequence[str], model: str, *, truncate_left: bool = False
    ) -> Values:
        """Return probabilities of being acceptable: float32 ``[n]``, 0 to 1. Arguments as :meth:`embed`'s."""
        async with self.request(call, "cola", sentences, model):
            found = await self._values(call, "cola", sentences, model, truncate_left=truncate_left)
        return np.array(found, np.float32)

    async def similarity(
        self,
        call: Call,
        pairs: Pairs,
        model: str,
        *,
        prompt_name: str | None = None,
        input_type: InputType | None = None,
        truncate_left: bool = False,
    ) -> tuple[Values, npt.NDArray[np.bool_]]:
        """Return cosines, float32 ``[n]``, -1 to 1, and whether each pair is similar, bool ``[n]``.

        Arguments as :meth:`embed`'s.
        """
        async with self.request(call, "sts", pairs, model) as info:
            if prompt := info.prompt_for(prompt_name, input_type):
                pairs = [(prompt + one, prompt + other) for one, other in pairs]
            cosines = np.array(await self._values(call, "sts", pairs, model, truncate_left=truncate_left), np.float32)
        return cosines, cosines >= self._similarity_threshold(info)

    def refuse_where_full(self, work: float) -> None:
        """Refuse a small request, of which no more is known than about how many tokens it has, if there is no room."""
        try:
            with self._reporting_that_triton_is_away():
                self._admission.check(work)
        except TridentError as error:
            self._count_error("unread", error)
            raise

    async def find(self, model: str | None, *tasks: str) -> ModelInfo:
        """Return a set of models that may be of any of some tasks; see :meth:`Catalogue.find`."""
        async with self._in_time():
            return await self._catalogue.find(model, *tasks)

    async def scores(
        self,
        call: Call,
        task: str,
        items: Sequence[Any],
        model: str,
        *,
        raw_scores: bool,
        truncate_left: bool = False,
    ) -> Values:
        """Return what a classifier or a cross-encoder gives its labels: float32 ``[n, labels]``.

        Args:
            call: of the request.
            task: ``classify`` or ``rerank``.
            items: texts, or pairs of them that are read together.
            model: the set of models.
            raw_scores: logits in place of scores of 0 to 1.
            truncate_left: as of :meth:`embed`; of a pair, both lose their beginnings, the longer first.
        """
        async with self.request(call, task, items, model):
            found = await self._values(call, task, items, model, truncate_left=truncate_left)
        wanted = "logits" if raw_scores else "scores"
        return np.stack([np.atleast_1d(np.float32(each[wanted])) for each in found])

    async def stream_similarity(
        self, call: Call, pairs: Pairs, model: str, concurrency: int, *, truncate_left: bool = False
    ) -> AsyncGenerator[PairResult, None]:
        """Give the same for any number of pairs, one after the other, in order.

        All share one turn; up to ``concurrency`` batches of them are with Triton at once. The deadline holds for the
        wait for each, not for all together, and the time in which nobody takes them counts for nothing.
        """
        truncated: set[int] = set()
        unknown: set[int] = set()
        async with self._turn(call, "sts", pairs, Kind.STREAM):
            async with self._in_time(call.queue_seconds or 0.0):
                info = await self._catalogue.find(model, "sts")
            call.unread_language, threshold = unread_language(pairs, info.languages), self._similarity_threshold(info)
            found = self.client.stream_similarity(
                pairs,
                model=model,
                on_truncation=truncated.update,
                on_unknown=unknown.update,
                concurrency=concurrency,
                truncate="left" if truncate_left else "right",
            )
            with self._observed(call, "sts"):
                async with aclosing(found):
                    for index in range(len(pairs)):
                        with self._timed(call):
                            async with self._in_time():
                                score = await anext(found)
                        call.truncated |= index in truncated
                        call.unknown |= index in unknown
                        yield PairResult(score, score >= threshold, index in truncated, index in unknown)

    async def embed(
        self,
        call: Call,
        texts: Sequence[str],
        model: str,
        *,
        prompt_name: str | None = None,
        input_type: InputType | None = None,
        kinds: Sequence[InputType] = (),
        truncate_left: bool = False,
    ) -> Values:
        """Return embeddings: float32 ``[n, dim]``, unit norm. How many tokens they took is noted in the call.

        Args:
            call: of the request.
            texts: what is embedded.
            model: the set of models.
            prompt_name: which of the set's prompts stands in front of each text; its default where None.
            input_type: what the texts are, in place of that, for sets with a prompt for such; others take all alike.
            kinds: the same for each text.
            truncate_left: whether a text that is too long loses its beginning, and not its end.
        """
        async with self.request(call, "embed", texts, model) as info:
            if kinds:
                prompts = {kind: info.prompt_for(None, kind) for kind in {*kinds}}
                texts = [prompts[kind] + text for kind, text in zip(kinds, texts, strict=True)]
            elif prompt := info.prompt_for(prompt_name, input_type):
                texts = [prompt + text for text in texts]
            rows = await self._values(call, "embed", texts, model, truncate_left=truncate_left)
        return np.stack(rows) if rows else np.empty((0, 0), np.float32)

    async def answers(
        self, call: Call, questions: Pairs, model: str, top_k: int, max_answer_tokens: int, *, no_answer: bool
    ) -> list[list[Answer]]:
        """Return the likeliest answers to each question in its context, the best first."""
        async with self.request(call, "qa", questions, model):
            unknown: set[int] = set()
            found = await self.client.answer_many(
                questions,
                top_k,
                model=model,
                max_answer_tokens=max_answer_tokens,
                no_answer=no_answer,
                on_unknown=unknown.update,
            )
        call.note_unknown(unknown)
        return found

    async def predict(
        self,
        call: Call,
        task: str,
        items: Sequence[Any],
        model: str,
        numbers: Mapping[str, int],
        *,
        truncate_left: bool = False,
    ) -> list[dict[str, Any]]:
        """Return what any task of the contract says of each item, by field."""
        async with self.request(call, task, items, model):
            truncated: set[int] = set()
            unknown: set[int] = set()
            found = await self.client.predict(
                task,
                items,
                model=model,
                numbers=numbers,
                on_truncation=truncated.update,
                on_unknown=unknown.update,
                truncate="left" if truncate_left else "right",
            )
        call.note_truncated(truncated)
        call.note_unknown(unknown)
        return found

    async def _values(
        self, call: Call, task: str, items: Sequence[Any], model: str, *, truncate_left: bool = False
    ) -> list[Any]:
        """Return the value of each item, and note in the call what else was found."""
        which = task, model, truncate_left
        if which not in self._inferences:
            infer = partial(self._infer, task, model, {"truncate": "left"} if truncate_left else {})
            self._inferences[which] = Joiner(infer) if self._joining else infer
        found = await self._inferences[which](items)
        call.note_truncated(index for index, each in enumerate(found) if each.truncated)
        call.note_unknown(index for index, each in enumerate(found) if each.unknown)
        call.tokens += sum(each.tokens for each in found)
        return [each.value for each in found]

    async def _infer(self, task: str, model: str, options: Mapping[str, Any], items: Sequence[Any]) -> Sequence[Result]:
        self._metrics.carried.labels(task).observe(len(items))
        return await self._tasks[task](model, items, **options)

    async def _numbers(
        self, ask: Callable[..., Awaitable[Values]], model: str, items: Sequence[Any], **options: Any
    ) -> list[Result]:
        truncated: set[int] = set()
        unknown: set[int] = set()
        values = await ask(items, model=model, on_truncation=truncated.update, on_unknown=unknown.update, **options)
        return [Result(value, index in truncated, index in unknown) for index, value in enumerate(values)]

    async def _counted(
        self, ask: Callable[..., Awaitable[Any]], model: str, items: Sequence[Any], **options: Any
    ) -> list[Result]:
        truncated: set[int] = set()
        unknown: set[int] = set()
        tokens: list[int] = []
        values = await ask(
            items,
            model=model,
            on_truncation=truncated.update,
            on_unknown=unknown.update,
            on_token_counts=tokens.extend,
            **options,
        )
        return [
            Result(value, index in truncated, index in unknown, count)
            for index, (value, count) in enumerate(zip(values, tokens, strict=True))
        ]

    def threshold_of(self, info: ModelInfo) -> float | None:
        """Return the score from which a set of models calls an item similar, acceptable or a label's; None for none."""
        if info.task == contract.STS.name:
            return self._similarity_threshold(info)
        task = contract.TASKS.get(info.task)
        return info.threshold if info.threshold is not None or task is None else task.threshold

    def _similarity_threshold(self, info: ModelInfo) -> float:
        """Return the cosine from which sentences are similar: the operator's, a set's own, or the task's."""
        return next(
            each for each in (self._threshold, info.threshold, contract.SIMILARITY_THRESHOLD) if each is not None
        )

    @asynccontextmanager
    async def request(
        self, call: Call, task: str, items: Sequence[Any], model: str, work: float | None = None
    ) -> AsyncIterator[ModelInfo]:
        """Hold a turn, within the deadline and with a model that is served; what happens inside is timed.

        Args:
            call: of the request.
            task: what is asked.
            items: of the request, texts or tuples of them.
            model: the set of models.
            work: about how many tokens the items have; given where they are no texts.
        """
        spec, ensemble = contract.ensemble_of(task)
        began = asyncio.get_running_loop().time()
        try:
            async with self._turn(call, task, items, work=work), self._in_time(call.queue_seconds or 0.0):
                info = await self._catalogue.find(model, spec.name)
                if work is None:
                    call.unread_language = unread_language(items, info.languages)
                with self._observed(call, task), self._timed(call):
                    yield info
        except DeadlineError:
            self.hangs.late(model, ensemble, began)
            raise
        self.hangs.answered(model)

    @asynccontextmanager
    async def _turn(
        self, call: Call, task: str, items: Sequence[Any], kind: Kind | None = None, work: float | None = None
    ) -> AsyncIterator[None]:
        """Hold a turn, of the kind that the items' work makes it where none is given, and count what fails."""
        call.task, call.size = task, len(items)
        work = work_of(task, items) if work is None else work
        kind = kind or kind_of(task, items, work)
        self._metrics.batch.labels(task).observe(len(items))
        try:
            self._tokens.take(call.key, work)
            async with AsyncExitStack() as held:
                try:
                    async with self._in_time():
                        # Streams share their line as equals: how long one lasts is its reader's matter.
                        turn = self._enter(1.0 if kind is Kind.STREAM else work, kind)
                        call.queue_seconds = await held.enter_async_context(turn)
                except TridentError:
                    self._tokens.give_back(call.key, work)
                    raise
                self._metrics.queued.labels(task).observe(call.queue_seconds)
                yield
        except TridentError as error:
            self._count_error(task, error)
            raise

    def _count_error(self, task: str, error: TridentError) -> None:
        counted = OverloadedError if isinstance(error, OverloadedError) else type(error)
        self._metrics.errors.labels(task, counted.__name__).inc()

    @asynccontextmanager
    async def _enter(self, work: float, kind: Kind) -> AsyncIterator[float]:
        """Hold a turn of the queue."""
        with self._reporting_that_triton_is_away():
            async with self._admission.turn(work, kind) as waited:
                yield waited

    @contextmanager
    def _reporting_that_triton_is_away(self) -> Iterator[None]:
        """A queue that is full because Triton is away is no overload."""
        try:
            yield
        except RefusedError as refusal:
            if all(each.failures for each in self.client.servers()):
                away = "Triton is away, or is being started again, and no more requests can wait for it"
                raise NotReadyError(f"{away}; try again in a moment.") from refusal
            raise

    @contextmanager
    def _observed(self, call: Call, task: str) -> Iterator[None]:
        """Count, at the end, the time that was spent on inference."""
        call.inference_seconds = 0.0
        try:
            yield
        finally:
            self._metrics.inference.labels(task).observe(call.inference_seconds)

    @contextmanager
    def _timed(self, call: Call) -> Iterator[None]:
        """Add the time inside to that spent on inference."""
        started = time.perf_counter()
        try:
            yield
        finally:
            call.inference_seconds = (call.inference_seconds or 0.0) + time.perf_counter() - started

    @asynccontextmanager
    async def _in_time(self, waited: float = 0.0) -> AsyncIterator[None]:
        """Turn what takes longer than the deadline, less the seconds already waited, into an error."""
        try:
            async with asyncio.timeout(self._deadline - waited) as limit:
                yield
        except TimeoutError:
            # The client's own DeadlineError is one too.
            if not limit.expired():
                raise
            raise DeadlineError(f"No answer within {self._deadline:g} s, the wait for its turn included.") from None
