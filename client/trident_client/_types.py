"""What passes between the client's core and its transports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from os import PathLike, fspath
from os.path import isfile
from typing import Any, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
from tritonclient.utils import np_to_triton_dtype

from trident_client.contract import InputType
from trident_client.errors import BadInputError

Array = npt.NDArray[Any]
Response = Mapping[str, Array]
Configuration = Mapping[str, Any]
Statistics = Mapping[str, Any]


class Answer(NamedTuple):
    """A span of a context that answers a question; an empty one at 0 where the model says that there is no answer.

    Attributes:
        answer: the span's text, ``context[start:end]``.
        score: probability that this is the answer, 0 to 1, among all spans of the context.
        start: where it begins, in characters.
        end: where it ends, in characters.
    """

    answer: str
    score: float
    start: int
    end: int


class Label(NamedTuple):
    """A label, and what a classifier gives it.

    Attributes:
        label: as the model was trained with it.
        score: probability that a text has it, 0 to 1; the logit where raw scores were asked for.
    """

    label: str
    score: float


@dataclass(frozen=True)
class Ranked:
    """A text's place in the list that was given, and how well it answers a query.

    Attributes:
        index: of the text.
        score: 0 to 1, greater for what belongs to the query; the logit where raw scores were asked for.
    """

    index: int
    score: float


@dataclass(frozen=True)
class ModelInfo:
    """One set of models that a server serves, as it was described when it was exported.

    Attributes:
        name: what to give as ``model``.
        task: ``cola``, ``sts``, ``qa``, ``classify`` or ``rerank``.
        languages: BCP 47 tags of the languages that it is for; empty where it was not said.
        dimension: numbers in an embedding; None for a task without embeddings.
        threshold: similarity from which two sentences are called similar, or score from which a text has a label
            that it may have beside others; None where there is none.
        metrics: what it scored, by name.
        dimensions: shorter vectors that its embeddings were trained for.
        prompts: what may stand in front of a text, by the names that ``prompt_name`` takes.
        default_prompt_name: which of them does where none is asked for; empty for none.
        labels: what a text may be called, in the order of the model's scores.
        export: how it computes on the machine that exported it: ``dtype``, ``parity`` with the plain model and
            ``speed``; empty where the server does not tell it, as one in NVIDIA's container.
        max_tokens: tokens that are read of a text, or of a window, those that frame it among them; None where it was
            not said.
        vocabulary: how many token ids its tokenizer has, from 0 on; None where it was not said.
    """

    name: str
    task: str
    languages: tuple[str, ...] = ()
    dimension: int | None = None
    threshold: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    dimensions: tuple[int, ...] = ()
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt_name: str = ""
    labels: tuple[str, ...] = ()
    export: Mapping[str, Any] = field(default_factory=dict)
    max_tokens: int | None = None
    vocabulary: int | None = None

    def prompt(self, name: str) -> str:
        """Return the prompt of a name.

        Raises:
            BadInputError: the set has none of the name, or an empty one, in whose place its default would stand.
        """
        default = self.prompts.get(self.default_prompt_name)
        accepted = [each for each, text in self.prompts.items() if text or not default]
        if name not in accepted:
            reason = f"must be a prompt of {self.name}, got {name!r}; accepted are: {', '.join(accepted) or 'none'}"
            raise BadInputError(f"prompt_name {reason}", self.name, field="prompt_name", reason=reason)
        return self.prompts[name]

    def prompt_for(self, prompt_name: str | None, input_type: InputType | None) -> str:
        """Return what a request has stand in front of its texts; empty where that is the set's own matter.

        Args:
            prompt_name: of the prompt.
            input_type: what the texts are; a set without a prompt for such takes all texts alike.

        Raises:
            BadInputError: the set has no such prompt, there is no such type, or both are given.
        """
        if input_type is None:
            return "" if prompt_name is None else self.prompt(prompt_name)
        reason = ""
        if prompt_name is not None:
            reason = "is given beside prompt_name; one of both is accepted"
        elif input_type not in get_args(InputType):
            reason = f"must be {', '.join(get_args(InputType))}, got {input_type!r}"
        if reason:
            raise BadInputError(f"input_type {reason}", self.name, field="input_type", reason=reason)
        for name in ("query",) if input_type in {"query", "search_query"} else ("passage", "document"):
            with suppress(BadInputError):
                return self.prompt(name)
        return ""


@dataclass(frozen=True)
class ModelStatistics:
    """What one server has counted for one of its models since it was started. Times are sums in seconds.

    Attributes:
        server: ``host:port``.
        name: the model; ensembles and the models inside them each have their own.
        version: the model's version.
        inferences: items answered; a request with a batch of 64 is 64.
        executions: how often the model ran; fewer than the requests where requests were joined in batches.
        successes: requests answered.
        failures: requests that failed.
        request_seconds: in requests that were answered, from their arrival to their answer.
        queue_seconds: waiting for the model.
        compute_input_seconds: making inputs ready.
        compute_infer_seconds: in the model.
        compute_output_seconds: taking outputs over.
    """

    server: str
    name: str
    version: str
    inferences: int
    executions: int
    successes: int
    failures: int
    request_seconds: float
    queue_seconds: float
    compute_input_seconds: float
    compute_infer_seconds: float
    compute_output_seconds: float


@dataclass(frozen=True)
class Request:
    """One inference: a model, its input tensors by name, and the outputs wanted.

    Text tensors are object arrays of UTF-8 ``bytes``. ``timeout`` is the seconds that the request's deadline leaves for
    the answer; the transport's own timeout holds where that is shorter.
    """

    model: str
    inputs: Mapping[str, Array]
    outputs: tuple[str, ...]
    timeout: float | None = None


@dataclass(frozen=True)
class Timeout:
    """How long to wait, in seconds.

    Attributes:
        connect: for a connection, and for an answer to a question about the server itself.
        read: for an answer to a request that was sent.
        deadline: for one request (up to a batch of a longer list) with all its attempts and the waiting between them;
            twice ``connect`` and ``read`` when None.
    """

    connect: float = 5.0
    read: float = 30.0
    deadline: float | None = None

    def __post_init__(self) -> None:
        """Refuse a timeout that would never or always strike."""
        if not (self.connect > 0 and self.read > 0):
            raise ValueError(f"timeouts must be positive seconds, got connect={self.connect}, read={self.read}")
        if self.deadline is not None and not self.deadline > 0:
            raise ValueError(f"a deadline must be positive seconds, got {self.deadline}")

    @property
    def longest(self) -> float:
        """Seconds that one request may take in all."""
        return 2 * (self.connect + self.read) if self.deadline is None else self.deadline


@dataclass(frozen=True)
class Tls:
    """How a server is known, and how this client makes itself known; files are PEM.

    Attributes:
        authorities: whose certificates are trusted; the operating system's or Python's own list when None.
        certificate: the client's own, where a server asks for one, with those between it and an authority.
        key: the private key of ``certificate``.
    """

    authorities: str | PathLike[str] | None = None
    certificate: str | PathLike[str] | None = None
    key: str | PathLike[str] | None = None

    def __post_init__(self) -> None:
        """Refuse what is not there, and half a client's certificate."""
        for file in (self.authorities, self.certificate, self.key):
            if file is not None and not isfile(file):
                raise ValueError(f"{fspath(file)} is no file; certificates and keys are files in PEM")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a client's certificate and its key are given together, or neither is")


def seconds_to_answer(request: Request, timeout: Timeout) -> float:
    """Return how long an answer is waited for: the timeout for one, or what the request's deadline leaves if less."""
    return timeout.read if request.timeout is None else min(timeout.read, request.timeout)


def microseconds_in_queue(request: Request, timeout: Timeout) -> int:
    """Return what Triton is told as a request's ``timeout``: it throws away what stood in its queues for longer.

    Nobody waits for that any more. Models heed it whose queue policy has ``allow_timeout_override``; Trident's have no
    policy.
    """
    return max(1, round(seconds_to_answer(request, timeout) * 1e6))


def triton_type(array: Array) -> str:
    """Return the protocol's name of an array's type.

    Raises:
        BadInputError: there is none.
    """
    name: str | None = np_to_triton_dtype(array.dtype)
    if name is None:
        raise BadInputError(
            f"an array of {array.dtype} has no type that Triton knows; text is an array of bytes objects"
        )
    return name


def text_column(texts: Sequence[bytes]) -> Array:
    """Return texts as a BYTES tensor ``[n, 1]``."""
    column = np.empty((len(texts), 1), dtype=np.object_)
    column[:, 0] = list(texts)
    return column
