"""A served model as a callable pipeline, for ``evaluate.evaluator`` and other loops written for transformers.

What goes in and comes out is as transformers' pipeline of the same task has it; neither library is imported. As there,
options may be given when a pipeline is made, for all calls, and in a call.
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
#: What transformers takes beside: how texts become batches and windows, which is the server's own matter.
SERVERS_OWN = frozenset(
    {
        "align_to_words", "batch_size", "doc_stride", "max_length", "max_question_len", "max_seq_len", "num_workers",
        "padding", "truncation",
    }
)  # fmt: skip


def _with_options(before: Mapping[str, Any], given: Mapping[str, Any], accepted: Sequence[str]) -> dict[str, Any]:
    """Return options with those of a call; raise TypeError where one is none that the pipeline takes."""
    unknown = sorted(given.keys() - {*accepted} - SERVERS_OWN)
    if unknown:
        raise TypeError(f"the pipeline takes no {unknown[0]}; accepted are {', '.join(accepted)}")
    return {**before, **given}


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
        options: those of a call.

    Raises:
        ValueError: an option means nothing.
        TypeError: there is no such option.
    """

    task = "text-classification"
    accepted = ("top_k", "function_to_apply")

    def __init__(
        self,
        client: TridentClient,
        model: str = contract.COLA.name,
        threshold: float | None = None,
        **options: Any,
    ) -> None:
        if threshold is not None and not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be a probability, 0 to 1, got {threshold}")
        self._client, self._model, self._threshold = client, model, threshold
        self._options = self._chosen({}, options)
        # Asked of the server when the first text comes.
        self._classifies = False if model == contract.COLA.name else None

    def __call__(self, inputs: str | Mapping[str, str] | Iterable[str | Mapping[str, str]], **kwargs: Any) -> Any:
        """Classify a text, or each of many: a ``Label`` for each, or a list of them where ``top_k`` is given.

        Args:
            inputs: one text, or any iterable of them or of ``{"text": ...}``, such as a data set's column; a classifier
                takes ``{"text": ..., "text_pair": ...}`` too.
            kwargs: ``top_k``: so many of the likeliest labels, as a list; all when None. ``function_to_apply``:
                ``none`` for logits, of a classifier alone. What else transformers' pipeline takes, such as
                ``truncation``, may be there; texts are cut in any case, and ``truncation`` asks for no warning of it.

        Raises:
            ValueError: a threshold was given for a classifier, or an option means nothing.
            TypeError: there is no such option.
            TridentError: see :mod:`trident_client.errors`.
        """
        options = self._chosen(self._options, kwargs)
        if isinstance(inputs, str | Mapping):
            return self._classified([inputs], options)[0]
        return self._classified(inputs, options)

    def _chosen(self, before: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        options = _with_options(before, given, self.accepted)
        _check_whole(options, "top_k")
        if (function := options.get("function_to_apply")) not in {None, "none"}:
            raise ValueError(f"function_to_apply must be 'none', or None for the model's own, got {function!r}")
        return options

    def _classified(self, inputs: Iterable[str | Mapping[str, str]], options: Mapping[str, Any]) -> list[Any]:
        raw_scores = options.get("function_to_apply") == "none"
        with warnings.catch_warnings():
            if options.get("truncation"):
                warnings.simplefilter("ignore", TruncationWarning)
            if self._is_classifier():
                texts = map(_text_or_pair, inputs)
                found = self._client.stream_classifications(texts, model=self._model, raw_scores=raw_scores)
                rows = [[Label(label=each.label, score=each.score) for each in labels] for labels in found]
            elif raw_scores:
                raise ValueError(f"{self._model} gives probabilities alone; function_to_apply is for classifiers")
            else:
                sentences = (_sentence(each) for each in inputs)
                rows = [self._labels(each) for each in self._client.stream_acceptability(sentences, model=self._model)]
        return [row[: options["top_k"]] for row in rows] if "top_k" in options else [row[0] for row in rows]

    def _is_classifier(self) -> bool:
        if self._classifies is None:
            tasks = {each.name: each.task for each in self._client.models()}
            self._classifies = tasks.get(self._model) == contract.CLASSIFY.name
        if self._classifies and self._threshold is not None:
            raise ValueError(f"{self._model} has labels of its own; a threshold is for sets of the task cola")
        return self._classifies

    def _labels(self, probability: float) -> list[Label]:
        """Return both labels, first the one that the threshold says."""
        threshold = contract.ACCEPTABILITY_THRESHOLD if self._threshold is None else self._threshold
        labels: list[Label] = [
            {"label": "LABEL_1", "score": probability}, {"label": "LABEL_0", "score": 1 - probability}
        ]  # fmt: skip
        return labels if probability >= threshold else labels[::-1]


class SentenceSimilarityPipeline:
    """Pairs of sentences to cosines.

    Args:
        client: asks the server.
        model: the set of models that compares.
        options: those of a call.

    Raises:
        TypeError: there is no such option.
    """

    task = "sentence-similarity"
    accepted = ("input_type", "prompt_name", "truncate")

    def __init__(self, client: TridentClient, model: str = contract.STS.name, **options: Any) -> None:
        self._client, self._model = client, model
        self._options = _with_options({}, options, self.accepted)

    def __call__(self, inputs: Iterable[tuple[str, str] | Mapping[str, str]], **kwargs: Any) -> list[float]:
        """Compare each pair.

        Args:
            inputs: pairs, as tuples or as transformers has them: ``{"text": ..., "text_pair": ...}``.
            kwargs: ``input_type``, ``prompt_name`` and ``truncate``, see :meth:`TridentClient.similarity`; what
                transformers' pipelines take beside may be there for the sake of their callers.

        Raises:
            TypeError: there is no such option.
            TridentError: see :mod:`trident_client.errors`.
        """
        options = _with_options(self._options, kwargs, self.accepted)
        wanted = {name: options[name] for name in self.accepted if name in options}
        pairs = ((each["text"], each["text_pair"]) if isinstance(each, Mapping) else each for each in inputs)
        return list(self._client.stream_similarity(pairs, model=self._model, **wanted))


class QuestionAnsweringPipeline:
    """Questions and contexts to ``{"answer", "score", "start", "end"}``.

    Args:
        client: asks the server.
        model: the set of models that answers.
        options: those of a call.

    Raises:
        ValueError: an option means nothing.
        TypeError: there is no such option.
    """

    task = "question-answering"
    accepted = ("handle_impossible_answer", "max_answer_len", "top_k")

    def __init__(self, client: TridentClient, model: str = contract.QA.name, **options: Any) -> None:
        self._client, self._model = client, model
        self._options = self._chosen({}, options)

    def __call__(self, *, question: str | Iterable[str], context: str | Iterable[str], **kwargs: Any) -> Any:
        """Answer a question, or each of many: a ``Span`` for each, or a list of them where ``top_k`` is above 1.

        Args:
            question: one question, or any iterable of them.
            context: the question's context, or as many as there are questions.
            kwargs: ``handle_impossible_answer``: whether a model that was taught so may answer with an empty text;
                False by default, as transformers has it. ``top_k``: so many answers, the best first; 1 by default.
                ``max_answer_len``: tokens in the longest answer; 30 by default. What else transformers' pipeline takes
                says how windows are cut, and may be there.

        Raises:
            ValueError: questions and contexts are not as many, or an option means nothing.
            TypeError: there is no such option.
            TridentError: see :mod:`trident_client.errors`.
        """
        options = self._chosen(self._options, kwargs)
        if isinstance(question, str) and isinstance(context, str):
            return self._answered([question], [context], options)[0]
        if isinstance(question, str) or isinstance(context, str):
            raise ValueError("question and context must be two strings, or as many questions as contexts")
        return self._answered(question, context, options)

    def _chosen(self, before: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        options = _with_options(before, given, self.accepted)
        _check_whole(options, "top_k", "max_answer_len")
        return options

    def _answered(self, questions: Iterable[str], contexts: Iterable[str], options: Mapping[str, Any]) -> list[Any]:
        top_k = options.get("top_k") or 1
        found = self._client.stream_answers(
            zip(questions, contexts, strict=True),
            top_k,
            model=self._model,
            max_answer_tokens=options.get("max_answer_len"),
            no_answer=bool(options.get("handle_impossible_answer")),
        )
        rows = [
            [Span(answer=each.answer, score=each.score, start=each.start, end=each.end) for each in spans]
            for spans in found
        ]
        return rows if top_k > 1 else [spans[0] for spans in rows]


def _check_whole(options: Mapping[str, Any], *names: str) -> None:
    for name in names:
        value = options.get(name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise ValueError(f"{name} must be a whole number of 1 or more, or None, got {value!r}")


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
    task: Literal["text-classification"], client: TridentClient, *, model: str | None = None, **options: Any
) -> TextClassificationPipeline: ...


@overload
def pipeline(
    task: Literal["sentence-similarity"], client: TridentClient, *, model: str | None = None, **options: Any
) -> SentenceSimilarityPipeline: ...


@overload
def pipeline(
    task: Literal["question-answering"], client: TridentClient, *, model: str | None = None, **options: Any
) -> QuestionAnsweringPipeline: ...


def pipeline(task: str, client: TridentClient, *, model: str | None = None, **options: Any) -> Pipeline:
    """Return the pipeline of a task.

    Args:
        task: ``text-classification``, ``sentence-similarity`` or ``question-answering``.
        client: asks the server; stays the caller's to close.
        model: the set of models that is asked; the task's own, ``cola`` for text-classification, when None.
        options: ``threshold`` of text-classification, and what a call of the pipeline takes, for all calls.

    Raises:
        ValueError: there is no such task, or an option means nothing.
        TypeError: there is no such option.
    """
    kinds: Sequence[type[Any]] = (TextClassificationPipeline, SentenceSimilarityPipeline, QuestionAnsweringPipeline)
    for kind in kinds:
        if kind.task == task:
            made: Pipeline = kind(client, model or TASKS[task], **options)
            return made
    raise ValueError(f"task must be {', '.join(TASKS)}; got {task!r}")
