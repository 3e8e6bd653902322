"""A served model as a callable pipeline, for ``evaluate.evaluator`` and other loops written for transformers.

What goes in and comes out is as transformers' pipeline of the same task has it; neither library is imported.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict, overload

from trident_client import contract
from trident_client._sync.client import TridentClient
from trident_client.errors import BadInputError, TruncationWarning

#: The pipelines' tasks, and the set of models that answers where none is named.
TASKS = {
    "text-classification": contract.COLA.name,
    "sentence-similarity": contract.STS.name,
    "question-answering": contract.QA.name,
}


class Label(TypedDict):
    """A class and its probability."""

    label: str
    score: float


class Span(TypedDict):
    """A span of a context that answers a question; see :class:`trident_client.Answer`."""

    answer: str
    score: float
    start: int
    end: int


class TextClassificationPipeline:
    """Texts to ``{"label", "score"}``: the likeliest of a classifier's labels, as the model was trained with them.

    Of a set of the task ``cola``, ``LABEL_1`` where a sentence is acceptable, ``LABEL_0`` where not.

    Args:
        client: asks the server.
        model: the set of models that judges, of the task ``cola`` or ``classify``.
        threshold: probability from which a sentence is acceptable; half when None. A classifier has none.
    """

    task = "text-classification"

    def __init__(self, client: TridentClient, model: str = contract.COLA.name, threshold: float | None = None) -> None:
        if threshold is not None and not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be a probability, 0 to 1, got {threshold}")
        self._client, self._model, self._threshold = client, model, threshold
        # Asked of the server when the first text comes.
        self._classifies = False if model == contract.COLA.name else None

    @overload
    def __call__(self, inputs: str | Mapping[str, str], **kwargs: Any) -> Label: ...

    @overload
    def __call__(self, inputs: Iterable[str | Mapping[str, str]], **kwargs: Any) -> list[Label]: ...

    def __call__(
        self, inputs: str | Mapping[str, str] | Iterable[str | Mapping[str, str]], **kwargs: Any
    ) -> Label | list[Label]:
        """Classify a text, or each of many.

        Args:
            inputs: one text, or any iterable of them or of ``{"text": ...}``, such as a data set's column; a classifier
                takes ``{"text": ..., "text_pair": ...}`` too.
            kwargs: what transformers' pipeline takes beside, such as ``truncation``; texts are cut in any case.

        Raises:
            ValueError: a threshold was given for a classifier.
            TridentError: see :mod:`trident_client.errors`.
        """
        if isinstance(inputs, str | Mapping):
            return self([inputs], **kwargs)[0]
        with warnings.catch_warnings():
            if kwargs.get("truncation"):
                warnings.simplefilter("ignore", TruncationWarning)
            if self._is_classifier():
                found = self._client.stream_classifications(map(_text_or_pair, inputs), model=self._model)
                return [{"label": labels[0].label, "score": labels[0].score} for labels in found]
            sentences = (_sentence(each) for each in inputs)
            return [self._label(value) for value in self._client.stream_acceptability(sentences, model=self._model)]

    def _is_classifier(self) -> bool:
        if self._classifies is None:
            tasks = {each.name: each.task for each in self._client.models()}
            self._classifies = tasks.get(self._model) == contract.CLASSIFY.name
        if self._classifies and self._threshold is not None:
            raise ValueError(f"{self._model} has labels of its own; a threshold is for sets of the task cola")
        return self._classifies

    def _label(self, probability: float) -> Label:
        threshold = contract.ACCEPTABILITY_THRESHOLD if self._threshold is None else self._threshold
        if probability >= threshold:
            return {"label": "LABEL_1", "score": probability}
        return {"label": "LABEL_0", "score": 1 - probability}


class SentenceSimilarityPipeline:
    """Pairs of sentences to cosines.

    Args:
        client: asks the server.
        model: the set of models that compares.
    """

    task = "sentence-similarity"

    def __init__(self, client: TridentClient, model: str = contract.STS.name) -> None:
        self._client, self._model = client, model

    def __call__(self, inputs: Iterable[tuple[str, str] | Mapping[str, str]], **kwargs: Any) -> list[float]:
        """Compare each pair.

        Args:
            inputs: pairs, as tuples or as transformers has them: ``{"text": ..., "text_pair": ...}``.
            kwargs: taken for the sake of other pipelines' callers.

        Raises:
            TridentError: see :mod:`trident_client.errors`.
        """
        pairs = ((each["text"], each["text_pair"]) if isinstance(each, Mapping) else each for each in inputs)
        return list(self._client.stream_similarity(pairs, model=self._model))


class QuestionAnsweringPipeline:
    """Questions and contexts to ``{"answer", "score", "start", "end"}``.

    Args:
        client: asks the server.
        model: the set of models that answers.
    """

    task = "question-answering"

    def __init__(self, client: TridentClient, model: str = contract.QA.name) -> None:
        self._client, self._model = client, model

    @overload
    def __call__(self, *, question: str, context: str, **kwargs: Any) -> Span: ...

    @overload
    def __call__(self, *, question: Iterable[str], context: Iterable[str], **kwargs: Any) -> list[Span]: ...

    def __call__(
        self, *, question: str | Iterable[str], context: str | Iterable[str], **kwargs: Any
    ) -> Span | list[Span]:
        """Answer a question, or each of many.

        Args:
            question: one question, or any iterable of them.
            context: the question's context, or as many as there are questions.
            kwargs: ``handle_impossible_answer``: whether a model that was taught so may answer with an empty text;
                False by default, as transformers has it.

        Raises:
            ValueError: questions and contexts are not as many.
            TridentError: see :mod:`trident_client.errors`.
        """
        if isinstance(question, str) and isinstance(context, str):
            return self(question=[question], context=[context], **kwargs)[0]
        if isinstance(question, str) or isinstance(context, str):
            raise ValueError("question and context must be two strings, or as many questions as contexts")
        pairs = zip(question, context, strict=True)
        no_answer = bool(kwargs.get("handle_impossible_answer"))
        answers = self._client.stream_answers(pairs, model=self._model, no_answer=no_answer)
        return [
            {"answer": best.answer, "score": best.score, "start": best.start, "end": best.end}
            for best in (spans[0] for spans in answers)
        ]


def _text_or_pair(given: str | Mapping[str, str]) -> str | tuple[str, str]:
    if not isinstance(given, Mapping):
        return given
    pair = given.get("text_pair")
    return given["text"] if pair is None else (given["text"], pair)


def _sentence(given: str | Mapping[str, str]) -> str:
    if not isinstance(given, Mapping):
        return given
    if given.get("text_pair") is not None:
        raise BadInputError("a pair is not one sentence; 'text' alone is accepted")
    return given["text"]


Pipeline = TextClassificationPipeline | SentenceSimilarityPipeline | QuestionAnsweringPipeline


@overload
def pipeline(
    task: Literal["text-classification"], client: TridentClient, *, model: str | None = None, **options: float
) -> TextClassificationPipeline: ...


@overload
def pipeline(
    task: Literal["sentence-similarity"], client: TridentClient, *, model: str | None = None
) -> SentenceSimilarityPipeline: ...


@overload
def pipeline(
    task: Literal["question-answering"], client: TridentClient, *, model: str | None = None
) -> QuestionAnsweringPipeline: ...


def pipeline(task: str, client: TridentClient, *, model: str | None = None, **options: float) -> Pipeline:
    """Return the pipeline of a task.

    Args:
        task: ``text-classification``, ``sentence-similarity`` or ``question-answering``.
        client: asks the server; stays the caller's to close.
        model: the set of models that is asked; the task's own, ``cola`` for text-classification, when None.
        options: ``threshold`` of text-classification.

    Raises:
        ValueError: there is no such task.
    """
    kinds: Sequence[type[Any]] = (TextClassificationPipeline, SentenceSimilarityPipeline, QuestionAnsweringPipeline)
    for kind in kinds:
        if kind.task == task:
            made: Pipeline = kind(client, model or TASKS[task], **options)
            return made
    raise ValueError(f"task must be {', '.join(TASKS)}; got {task!r}")
