"""Clients that ask without a pause and look at every answer."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

import httpx

#: Numbers differ in the last places from batch to batch: bfloat16 rounds a little otherwise beside other texts.
TOLERANCE = 0.02
#: Whoever has no answer and no error after it is lost: more than the facade's deadline.
LOST_SECONDS = 60.0
#: Refusals that say what is the matter and when to ask again.
REFUSALS = {429, 502, 503, 504}


class Outcome(StrEnum):
    """What became of a request."""

    RIGHT = "answered right"
    REFUSED = "refused clearly"
    BROKEN = "connection broken"
    LOST = "lost"
    WRONG = "wrong"


@dataclass(frozen=True)
class Question:
    """A request, and the answer that was given to it before.

    Attributes:
        path: where it is asked.
        body: as JSON.
        status: of the answer.
        answer: its content; None where another status than 200 is right.
    """

    path: str
    body: Any
    status: int = 200
    answer: Any = None


def asked_before(url: str, questions: Sequence[Question]) -> list[Question]:
    """Ask each question once, alone, and return it with its answer."""
    known = []
    with httpx.Client(base_url=url, timeout=LOST_SECONDS, trust_env=False) as http:
        for each in questions:
            found = http.post(each.path, json=each.body)
            if found.status_code != each.status:
                raise RuntimeError(f"{each.path} answers {found.status_code} and not {each.status}: {found.text}")
            known.append(Question(each.path, each.body, each.status, found.json() if each.status == 200 else None))
    return known


def same(left: Any, right: Any) -> bool:
    """Say whether two answers are the same, numbers within a tolerance; times are no part of an answer."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left if "runtime" not in key)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and isinstance(right, float | int):
        return abs(left - right) <= TOLERANCE
    return bool(left == right)


class Traffic:
    """Threads that ask questions whose answers are known, one after the other.

    Args:
        url: whom they ask.
        questions: as :func:`asked_before` returns them.
        clients: how many ask at once.
    """

    def __init__(self, url: str, questions: Sequence[Question], clients: int) -> None:
        self._url = url
        self._questions = questions
        self._stop = threading.Event()
        self._lock = threading.Lock()
        #: When each request was sent and when it ended, by the monotonic clock, and what became of it.
        self.results: list[tuple[float, float, Outcome]] = []
        #: What was said of those that were wrong or lost.
        self.complaints: list[str] = []
        self.in_flight = 0
        self._threads = [threading.Thread(target=self._ask, args=[index]) for index in range(clients)]

    def __enter__(self) -> Self:
        """Begin."""
        for each in self._threads:
            each.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, with what is under way answered."""
        self._stop.set()
        for each in self._threads:
            each.join()

    def counts(self) -> Counter[Outcome]:
        """Return how many requests came to which end."""
        with self._lock:
            return Counter(outcome for _, _, outcome in self.results)

    def wait_for_answers(self, since: float, count: int, seconds: float) -> bool:
        """Wait for so many right answers to requests that were sent after ``since``; say whether they came."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with self._lock:
                found = sum(sent > since and what is Outcome.RIGHT for sent, _, what in self.results)
            if found >= count:
                return True
            time.sleep(0.02)
        return False

    def longest_pause(self, since: float) -> float:
        """Return the longest time in seconds, after ``since``, in which there was no right answer."""
        with self._lock:
            ends = sorted(end for _, end, what in self.results if end > since and what is Outcome.RIGHT)
        return max((after - before for before, after in itertools.pairwise([since, *ends])), default=0.0)

    def _ask(self, index: int) -> None:
        with httpx.Client(base_url=self._url, timeout=LOST_SECONDS, trust_env=False) as http:
            while not self._stop.is_set():
                question = self._questions[index % len(self._questions)]
                index += 1
                with self._lock:
                    self.in_flight += 1
                sent = time.monotonic()
                outcome, complaint = _ask_once(http, question)
                with self._lock:
                    self.in_flight -= 1
                    self.results.append((sent, time.monotonic(), outcome))
                    if complaint:
                        self.complaints.append(complaint)
                if outcome is not Outcome.RIGHT:
                    # As a client does that was told to come back.
                    self._stop.wait(0.1)


def _ask_once(http: httpx.Client, question: Question) -> tuple[Outcome, str]:
    try:
        answer = http.post(question.path, json=question.body)
    except httpx.TimeoutException as error:
        return Outcome.LOST, f"{question.path}: {type(error).__name__}"
    except httpx.TransportError:
        return Outcome.BROKEN, ""
    if answer.status_code == question.status and (question.answer is None or same(answer.json(), question.answer)):
        return Outcome.RIGHT, ""
    if answer.status_code in REFUSALS and answer.headers["content-type"].startswith("application/problem+json"):
        return Outcome.REFUSED, ""
    return Outcome.WRONG, f"{question.path} {json.dumps(question.body)[:200]}: {answer.status_code} {answer.text[:200]}"
