"""Questions over HTTP and gRPC whose answers are known, and whether two answers are the same."""

from __future__ import annotations

import csv
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

import httpx
import numpy as np
from trident_client import (
    BadInputError,
    DeadlineError,
    NotReadyError,
    OverloadedError,
    Request,
    Retry,
    ServerError,
    Timeout,
    TransportError,
    TridentClient,
)

#: Numbers differ in the last places from batch to batch: bfloat16 rounds a little otherwise beside other texts.
TOLERANCE = 0.02
#: Whoever has no answer and no error after it is lost: more than the facade's deadline.
LOST_SECONDS = 60.0
#: What nobody outside needs: where something failed, in whose code.
INTERNALS = re.compile(
    r"Traceback|\.py\b|\.cpp\b|\.cc\b|/(?:root|home)/|site-packages|0x[0-9a-f]{6,}|Exception raised from"
)
#: In place of a path: Triton itself is asked.
GRPC = "grpc"
#: What the client raises over gRPC, as the statuses that the facade makes of it.
STATUSES: Mapping[type[Exception], int] = {
    BadInputError: 422,
    OverloadedError: 429,
    ServerError: 502,
    NotReadyError: 503,
}


@dataclass(frozen=True)
class Question:
    """A request, and the answer that was given to it before.

    Attributes:
        path: where it is asked; :data:`GRPC` asks Triton itself.
        body: as JSON; None where ``sent`` has it. Over gRPC a method of the client and its arguments, or a request.
        status: of the answer.
        answer: its content; None where it was not asked before, or differs from time to time.
        method: of HTTP.
        sent: what else is sent, as httpx takes it.
        steady: whether its answer is the same each time.
    """

    path: str
    body: Any = None
    status: int = 200
    answer: Any = None
    method: str = "POST"
    sent: Mapping[str, Any] = field(default_factory=dict)
    steady: bool = True


@dataclass(frozen=True)
class Reply:
    """What came back.

    Attributes:
        status: of HTTP.
        content: parsed where it is JSON or CSV.
        clear: whether an error says what is the matter as every error does, and not where in whose code.
    """

    status: int
    content: Any
    clear: bool = True


class Asker:
    """Connections of one client.

    Args:
        url: of the facade.
        grpc_url: ``host:port`` of Triton's gRPC; empty where no question goes there.
    """

    def __init__(self, url: str, grpc_url: str = "") -> None:
        self._http = httpx.Client(base_url=url, timeout=LOST_SECONDS, trust_env=False)
        # What fails is to be seen, and not tried again.
        patience = Timeout(read=LOST_SECONDS, deadline=LOST_SECONDS)
        self._grpc = (
            TridentClient(grpc_url, protocol="grpc", timeout=patience, retry=Retry(attempts=1)) if grpc_url else None
        )

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self._http.close()
        if self._grpc is not None:
            self._grpc.close()

    def ask(self, question: Question) -> Reply:
        """Ask.

        Raises:
            TimeoutError: there is no answer.
            ConnectionError: the connection broke.
        """
        try:
            return self._triton(question.body) if question.path == GRPC else self._facade(question)
        except (httpx.TimeoutException, DeadlineError) as error:
            raise TimeoutError(f"{question.path}: {type(error).__name__}") from error
        except (httpx.TransportError, TransportError) as error:
            raise ConnectionError(str(error)) from error

    def _facade(self, question: Question) -> Reply:
        json = {} if question.body is None else {"json": question.body}
        answer = self._http.request(question.method, question.path, **json, **question.sent)
        kind = answer.headers.get("content-type", "")
        if "json" in kind and answer.content:
            content = answer.json()
        else:
            content = [[_number(cell) for cell in row] for row in csv.reader(answer.text.splitlines())]
        clear = kind.startswith("application/problem+json") and not INTERNALS.search(answer.text)
        return Reply(answer.status_code, content, clear)

    def _triton(self, asked: Request | Sequence[Any]) -> Reply:
        if self._grpc is None:
            raise ValueError("a question over gRPC, and nobody to ask: give grpc_url")
        try:
            with warnings.catch_warnings():
                # That a text is cut is part of some questions.
                warnings.simplefilter("ignore")
                found = (
                    self._grpc.infer(asked) if isinstance(asked, Request) else getattr(self._grpc, asked[0])(*asked[1:])
                )
        except tuple(STATUSES) as error:
            return Reply(next(status for kind, status in STATUSES.items() if isinstance(error, kind)), str(error))
        return Reply(200, _plain(found))


def _number(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def _plain(value: Any) -> Any:
    """Return an answer of the client as JSON would have it."""
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def asked_before(url: str, questions: Sequence[Question], grpc_url: str = "") -> list[Question]:
    """Ask each question once, alone, and return it with its answer.

    Raises:
        RuntimeError: one is answered with another status than it says.
    """
    known = []
    with Asker(url, grpc_url) as asker:
        for each in questions:
            found = asker.ask(each)
            if found.status != each.status:
                what = f"{each.method} {each.path} {str(each.body)[:100]}"
                raise RuntimeError(f"{what} answers {found.status} and not {each.status}: {str(found.content)[:300]}")
            known.append(replace(each, answer=found.content if each.steady else None))
    return known


def same(left: Any, right: Any) -> bool:
    """Say whether two answers are the same, numbers within a tolerance; times are no part of an answer."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left if "runtime" not in key)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and isinstance(right, float | int):
        return abs(left - right) <= TOLERANCE or (math.isnan(left) and math.isnan(right))
    return bool(left == right)
