"""What each task is: its ensembles, their tensors and limits, and what people call its columns. One table, read by all.

Client, command line, facade, bench and training look a task up here; a test holds the model repository to it. A task
that is added is a row of :data:`TASKS`, or, outside this project, a :class:`TaskSpec` handed to :func:`register`.
Only the standard library and numpy are imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

#: Items of a request that an ensemble takes: ``max_batch_size``.
MAX_BATCH = 64
#: Bytes of UTF-8 of one text, and of a question.
MAX_TEXT_BYTES = 1_000_000
MAX_QUESTION_BYTES = 10_000
#: Answers to one question, and tokens of one answer, with how many it may have where nobody says.
MAX_ANSWERS = 100
MAX_ANSWER_TOKENS = 512
DEFAULT_ANSWER_TOKENS = 30
#: What a text is to be found by (a query), or to be found for, in all the words that are in use for it.
InputType = Literal["query", "passage", "document", "search_query", "search_document"]
#: Below it the facade answers every ensemble by its name.
GENERIC_PATH = "/predict/"
#: Cosine from which two sentences are similar where neither a model nor its operator says: 3 of 5.
SIMILARITY_THRESHOLD = 0.6
#: Probability from which a sentence is acceptable.
ACCEPTABILITY_THRESHOLD = 0.5


@dataclass(frozen=True)
class TextInput:
    """A text that an ensemble is asked with: TYPE_STRING ``[n, 1]``, UTF-8.

    Attributes:
        tensor: name of the input.
        column: what the text is called in JSON and in files.
        aliases: further names that its column may have.
        max_bytes: the longest that is taken.
        plural: what several are called in messages; the column with an s where it is empty.
        optional: whether items may do without; one of a request whose others have it holds the empty text.
    """

    tensor: str
    column: str
    aliases: tuple[str, ...] = ()
    max_bytes: int = MAX_TEXT_BYTES
    plural: str = ""
    optional: bool = False

    @property
    def texts(self) -> str:
        """What several of these texts are called in messages."""
        return self.plural or f"{self.column}s"

    @property
    def names(self) -> tuple[str, ...]:
        """All names of the column, its own first."""
        return (self.column, *self.aliases)


@dataclass(frozen=True)
class NumberInput:
    """A number that an ensemble may be asked with: TYPE_INT32 ``[n, 1]``, optional.

    Attributes:
        tensor: name of the input.
        field: what it is called in JSON and in the client.
        maximum: the greatest that is taken.
        minimum: the least.
        default: what it is where it is not given, if that is known.
    """

    tensor: str
    field: str
    maximum: int
    minimum: int = 1
    default: int | None = None


@dataclass(frozen=True)
class Output:
    """A tensor that an ensemble answers with.

    Attributes:
        tensor: its name.
        datatype: as KServe's protocol names it: ``FP32``, ``INT32`` or ``BYTES``.
        field: what an item's value is called in JSON and in files; None for what is told beside the answer.
    """

    tensor: str
    datatype: str
    field: str | None = None

    @property
    def dtype(self) -> np.dtype:  # type: ignore[type-arg]
        """The array's dtype; object where the elements are bytes."""
        return np.dtype({"FP32": np.float32, "INT32": np.int32, "BYTES": np.object_}[self.datatype])


@dataclass(frozen=True)
class Ensemble:
    """One thing that a task's models can be asked.

    Attributes:
        name: of the question, such as ``embed``; the task's own name for its main ensemble.
        suffix: what the ensemble's name has behind that of the set: ``_embedding``.
        inputs: texts, in the order of an item's texts.
        outputs: the answer, the first being that which no other ensemble has.
        truncations: outputs, int32 ``[n, 1]``, that count what was cut of each text.
        unknowns: outputs, int32 ``[n, 1]``, that count the tokens of each text that the vocabulary does not know.
        counts: outputs, int32 ``[n, 1]``, that count the tokens that were read.
        numbers: further inputs.
        max_batch: items of a request.
        items: what the items are called in messages.
        item: what one is made of, in messages, where it is more than one text.
        path: where the facade answers one item, and ``list_path`` a list of them, under the key ``list_key``; the
            facade's routes are made of them. ``/predict/<name>``, which each has beside, where they are empty.
        max_items: most items of a list that the facade takes.
    """

    name: str
    inputs: tuple[TextInput, ...]
    outputs: tuple[Output, ...]
    items: str = "items"
    path: str = ""
    list_path: str = ""
    list_key: str = "items"
    max_items: int = 4096
    item: str = ""
    suffix: str = ""
    truncations: tuple[str, ...] = ()
    unknowns: tuple[str, ...] = ()
    counts: tuple[str, ...] = ()
    numbers: tuple[NumberInput, ...] = ()
    max_batch: int = MAX_BATCH

    def __post_init__(self) -> None:
        generic = f"{GENERIC_PATH}{self.name}"
        object.__setattr__(self, "path", self.path or generic)
        object.__setattr__(self, "list_path", self.list_path or generic)

    @property
    def output(self) -> Output:
        """The first output."""
        return self.outputs[0]

    @property
    def answers(self) -> tuple[Output, ...]:
        """The outputs that are an item's answer; the others say what was cut and counted."""
        return tuple(each for each in self.outputs if each.field is not None)

    @property
    def required(self) -> tuple[TextInput, ...]:
        """The texts that every item has."""
        return tuple(each for each in self.inputs if not each.optional)

    def of(self, model: str) -> str:
        """Return the ensemble's name in a set of models."""
        return f"{model}{self.suffix}"

    def set_of(self, ensemble: str) -> str:
        """Return the set of models that an ensemble's name belongs to."""
        return ensemble.removesuffix(self.suffix)


@dataclass(frozen=True)
class TaskSpec:
    """One task.

    Attributes:
        name: of the task, and of its set of models that answers where none is named.
        ensembles: what it can be asked, its main ensemble first.
        network: the part whose ``model.pt`` is exported.
        network_output: the network's output whose width the configuration states.
        parts: folders of the repository beside the main ensemble's, each ``<set>_<part>``.
        metrics: what a set of models may be told to have scored, the first being what sets are chosen by.
        width: what the network answers with for an item or a token; None where it is the encoder's width.
        calibrated: the part with a ``calibration.json``; None for a task without it.
        threshold: value from which an item is called similar, or acceptable, where a set has none of its own.
        like: the task whose folders all sets are made of, by an export; None where the repository has the task's own.
    """

    name: str
    ensembles: tuple[Ensemble, ...]
    network: str
    network_output: str
    parts: tuple[str, ...]
    metrics: tuple[str, ...]
    width: int | None = None
    calibrated: str | None = None
    threshold: float | None = None
    like: str | None = None

    @property
    def main(self) -> Ensemble:
        """The main ensemble."""
        return self.ensembles[0]

    @property
    def primary(self) -> str:
        """The metric that sets of models are chosen by; greater is better."""
        return self.metrics[0]


_TRUNCATED = Output("TRUNCATED_TOKENS", "INT32")
_UNKNOWN = Output("UNKNOWN_TOKENS", "INT32")
_COUNTED = Output("TOKEN_COUNT", "INT32")
_TRUNCATE_LEFT = NumberInput("TRUNCATE_LEFT", "truncate_left", 1, minimum=0, default=0)
_SENTENCE = TextInput("TEXT", "sentence", ("text", "passage"))

COLA = TaskSpec(
    name="cola",
    ensembles=(
        Ensemble(
            name="cola",
            inputs=(_SENTENCE,),
            outputs=(Output("PROBABILITY", "FP32", "probability"), _TRUNCATED, _UNKNOWN),
            truncations=("TRUNCATED_TOKENS",),
            unknowns=("UNKNOWN_TOKENS",),
            numbers=(_TRUNCATE_LEFT,),
            items="sentences",
            path="/generate",
            list_path="/acceptability",
            list_key="sentences",
            max_items=4096,
        ),
    ),
    network="classifier",
    network_output="PROBABILITY",
    parts=("tokenizer", "classifier"),
    metrics=("matthews_correlation", "accuracy"),
    width=1,
    threshold=ACCEPTABILITY_THRESHOLD,
)
STS = TaskSpec(
    name="sts",
    ensembles=(
        Ensemble(
            name="sts",
            inputs=(
                TextInput("SENTENCE_1", "sentence_1", ("sentence1",), plural="first sentences"),
                TextInput("SENTENCE_2", "sentence_2", ("sentence2",), plural="second sentences"),
            ),
            outputs=(
                Output("SIMILARITY", "FP32", "similarity"),
                Output("TRUNCATED_TOKENS_1", "INT32"),
                Output("TRUNCATED_TOKENS_2", "INT32"),
                Output("UNKNOWN_TOKENS_1", "INT32"),
                Output("UNKNOWN_TOKENS_2", "INT32"),
            ),
            truncations=("TRUNCATED_TOKENS_1", "TRUNCATED_TOKENS_2"),
            unknowns=("UNKNOWN_TOKENS_1", "UNKNOWN_TOKENS_2"),
            numbers=(_TRUNCATE_LEFT,),
            items="pairs",
            item="two sentences",
            path="/pred/sentences",
            list_path="/similarity",
            list_key="pairs",
            max_items=4096,
        ),
        Ensemble(
            name="embed",
            suffix="_embedding",
            inputs=(TextInput("TEXT", "text", ("sentence", "passage")),),
            outputs=(Output("EMBEDDING", "FP32", "embedding"), _COUNTED, _TRUNCATED, _UNKNOWN),
            truncations=("TRUNCATED_TOKENS",),
            unknowns=("UNKNOWN_TOKENS",),
            counts=("TOKEN_COUNT",),
            numbers=(_TRUNCATE_LEFT,),
            items="texts",
            path="/embed",
            list_path="/embed",
            list_key="sentences",
            max_items=4096,
        ),
    ),
    network="encoder",
    network_output="EMBEDDING",
    parts=("tokenizer", "encoder", "embedding"),
    metrics=("spearman", "pearson", "f1", "accuracy"),
    threshold=SIMILARITY_THRESHOLD,
)
QA = TaskSpec(
    name="qa",
    ensembles=(
        Ensemble(
            name="qa",
            inputs=(
                TextInput("QUESTION", "question", max_bytes=MAX_QUESTION_BYTES),
                TextInput("CONTEXT", "context", ("passage",)),
            ),
            outputs=(
                Output("ANSWER", "BYTES", "answer"),
                Output("SCORE", "FP32", "score"),
                Output("START", "INT32", "start"),
                Output("END", "INT32", "end"),
                _UNKNOWN,
            ),
            unknowns=("UNKNOWN_TOKENS",),
            numbers=(
                NumberInput("TOP_K", "top_k", MAX_ANSWERS, default=1),
                NumberInput("MAX_ANSWER_TOKENS", "max_answer_tokens", MAX_ANSWER_TOKENS, default=DEFAULT_ANSWER_TOKENS),
                NumberInput("NO_ANSWER", "no_answer", 1, minimum=0, default=1),
            ),
            max_batch=1,
            items="questions",
            item="a question and its context",
            path="/qa",
            list_path="/qa",
            list_key="questions",
            max_items=256,
        ),
    ),
    network="reader",
    network_output="START_LOGITS",
    parts=("tokenizer", "reader", "span_decoder"),
    metrics=("f1", "exact_match"),
    width=2,
    calibrated="span_decoder",
)

_SCORED = (Output("SCORES", "FP32", "scores"), Output("LOGITS", "FP32", "logits"), _COUNTED, _TRUNCATED, _UNKNOWN)
CLASSIFY = TaskSpec(
    name="classify",
    ensembles=(
        Ensemble(
            name="classify",
            inputs=(
                TextInput("TEXT", "text", ("sentence", "premise")),
                TextInput("TEXT_2", "text_pair", ("hypothesis",), plural="second texts", optional=True),
            ),
            outputs=_SCORED,
            truncations=("TRUNCATED_TOKENS",),
            unknowns=("UNKNOWN_TOKENS",),
            counts=("TOKEN_COUNT",),
            numbers=(_TRUNCATE_LEFT,),
            items="texts",
            item="a text or two",
        ),
    ),
    network="classifier",
    network_output="SCORES",
    parts=("tokenizer", "classifier"),
    metrics=("macro_f1", "accuracy"),
    like=COLA.name,
)
RERANK = TaskSpec(
    name="rerank",
    ensembles=(
        Ensemble(
            name="rerank",
            inputs=(
                TextInput("TEXT", "query", ("question",), plural="queries"),
                TextInput("TEXT_2", "text", ("passage", "document")),
            ),
            outputs=_SCORED,
            truncations=("TRUNCATED_TOKENS",),
            unknowns=("UNKNOWN_TOKENS",),
            counts=("TOKEN_COUNT",),
            numbers=(_TRUNCATE_LEFT,),
            items="pairs",
            item="a query and a text",
        ),
    ),
    network="classifier",
    network_output="SCORES",
    parts=("tokenizer", "classifier"),
    metrics=("mean_reciprocal_rank", "average_precision"),
    width=1,
    like=COLA.name,
)

#: What embeds.
EMBED = STS.ensembles[1]

_tasks: dict[str, TaskSpec] = {task.name: task for task in (COLA, STS, QA, CLASSIFY, RERANK)}
#: All tasks by name, those that were registered among them.
TASKS: Mapping[str, TaskSpec] = MappingProxyType(_tasks)


def register(task: TaskSpec) -> TaskSpec:
    """Add a task to :data:`TASKS`, for a process; what reads the table then knows it.

    Raises:
        ValueError: another task, or an ensemble of one, has a name of this one's.
    """
    taken = {name for other in _tasks.values() for name in (other.name, *(each.name for each in other.ensembles))}
    names = {task.name, *(ensemble.name for ensemble in task.ensembles)}
    if _tasks.get(task.name) == task:
        return task
    if names & taken:
        raise ValueError(f"'{min(names & taken)}' is a task already; another name is accepted")
    _tasks[task.name] = task
    return task


@contextmanager
def registered(*tasks: TaskSpec) -> Iterator[None]:
    """Register tasks for as long as the context lasts, such as a test.

    Raises:
        ValueError: see :func:`register`.
    """
    before = dict(_tasks)
    try:
        for task in tasks:
            register(task)
        yield
    finally:
        _tasks.clear()
        _tasks.update(before)


def served_models() -> tuple[str, ...]:
    """Return the ensembles that every server has and that answer where no set of models is named, by name."""
    return tuple(sorted(ensemble.of(task.name) for task, ensemble in ensembles() if task.like is None))


def ensembles() -> Iterator[tuple[TaskSpec, Ensemble]]:
    """Give every ensemble with its task."""
    for task in _tasks.values():
        for ensemble in task.ensembles:
            yield task, ensemble


def ensemble_of(name: str) -> tuple[TaskSpec, Ensemble]:
    """Return what a question such as ``embed`` is asked, and its task.

    Raises:
        KeyError: no task has it.
    """
    for task, ensemble in ensembles():
        if ensemble.name == name:
            return task, ensemble
    raise KeyError(name)
