"""Clients that ask without a pause and look at every answer."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from types import TracebackType
from typing import Self

from chaos.asking import Asker, Question, same

#: Refusals that say what is the matter and when to ask again.
REFUSALS = {429, 502, 503, 504}


class Outcome(StrEnum):
    """What became of a request."""

    RIGHT = "answered right"
    REFUSED = "refused clearly"
    BROKEN = "connection broken"
    LOST = "lost"
    WRONG = "wrong"


class Traffic:
    """Threads that ask questions whose answers are known, one after the other.

    Args:
        url: whom they ask.
        questions: as :func:`~chaos.asking.asked_before` returns them.
        clients: how many ask at once.
        grpc_url: as :class:`~chaos.asking.Asker` takes it.
    """

    def __init__(self, url: str, questions: Sequence[Question], clients: int, grpc_url: str = "") -> None:
        self._urls = (url, grpc_url)
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
        # Nobody waits while millions are counted.
        with self._lock:
            results = self.results.copy()
        return Counter(outcome for _, _, outcome in results)

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
        with Asker(*self._urls) as asker:
            while not self._stop.is_set():
                question = self._questions[index % len(self._questions)]
                index += 1
                with self._lock:
                    self.in_flight += 1
                sent = time.monotonic()
                outcome, complaint = _ask_once(asker, question)
                with self._lock:
                    self.in_flight -= 1
                    self.results.append((sent, time.monotonic(), outcome))
                    if complaint:
                        self.complaints.append(complaint)
                if outcome is not Outcome.RIGHT:
                    # As a client does that was told to come back.
                    self._stop.wait(0.1)


def _ask_once(asker: Asker, question: Question) -> tuple[Outcome, str]:
    try:
        reply = asker.ask(question)
    except TimeoutError as error:
        return Outcome.LOST, str(error)
    except ConnectionError:
        return Outcome.BROKEN, ""
    if reply.status == question.status and (question.answer is None or same(reply.content, question.answer)):
        return Outcome.RIGHT, ""
    if reply.status in REFUSALS and reply.clear:
        return Outcome.REFUSED, ""
    return Outcome.WRONG, f"{question.path} {str(question.body)[:200]}: {reply.status} {str(reply.content)[:200]}"
