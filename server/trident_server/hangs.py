"""Whether Triton's models answer: one that never finishes is ready to Triton, whose word health checks take.

A set of models that has answered nothing since the last look is asked something tiny. It hangs when one of its models
finishes nothing for as long as the patience lasts while that waits. A queue of honest work is none: its models finish
something all the time.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from trident_client import contract

#: Seconds between looks, where patience is not short; a look costs Triton two milliseconds.
LOOK_SECONDS = 10.0
#: Seconds that Triton gets to say what it has counted.
TELL_SECONDS = 2.0
#: What every task takes for a text.
TEXT = "Where is it?"


@dataclass
class _Set:
    """One set of models.

    Attributes:
        ensemble: what is asked.
        models: what answers, in the order in which a request passes them.
        asked: the connection on which an answer is awaited.
        finished: what each model had counted when it was last seen to finish something.
        silent: seconds for which each has finished nothing since it was asked.
    """

    ensemble: contract.Ensemble
    models: list[str]
    asked: socket.socket | None = None
    finished: dict[str, int] = field(default_factory=dict)
    silent: dict[str, float] = field(default_factory=dict)


class HangDetector:
    """Watches the models of one Triton, over HTTP on this machine.

    Args:
        host: where Triton's HTTP answers, an IPv4 address.
        port: its port.
        patience: seconds, more than any honest execution takes.
        clock: seconds of a clock that only goes forward.
    """

    def __init__(self, host: str, port: int, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._address = host, port
        self._patience = patience
        self._every = min(LOOK_SECONDS, patience / 4)
        self._clock = clock
        self._looked = clock()
        self._sets: dict[str, _Set] | None = None
        self._mute = 0.0

    def close(self) -> None:
        """Await no answers any more, and find out anew what is served."""
        for each in (self._sets or {}).values():
            if each.asked is not None:
                each.asked.close()
        self._sets, self._mute = None, 0.0
        self._looked = self._clock()

    def hanging(self) -> str | None:
        """Look, where it is time to, and return what hangs, or None."""
        passed = self._clock() - self._looked
        if passed < self._every:
            return None
        self._looked += passed
        # While this process was halted, so may Triton have been.
        passed = min(passed, 2 * self._every)
        try:
            if self._sets is None:
                self._sets = dict(self._found())
            counted = self._counted()
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
            self._mute += passed
            return f"Triton has said nothing for {self._mute:.0f} s." if self._mute >= self._patience else None
        self._mute = 0.0
        for name, each in self._sets.items():
            if (model := self._look_at(name, each, counted, passed)) is not None:
                whose = "" if model == name else f" of the set '{name}'"
                return f"The model '{model}'{whose} has finished nothing for {self._patience:g} s while it was asked."
        return None

    def _look_at(self, name: str, each: _Set, counted: Mapping[str, int], passed: float) -> str | None:
        """Return which model of a set hangs, the first on a request's way, or None."""
        if each.asked is not None and _has_answered(each.asked):
            each.asked.close()
            each.asked = None
        before, each.finished = each.finished, {model: counted[model] for model in (*each.models, name)}
        if each.asked is None:
            each.silent = dict.fromkeys(each.models, 0.0)
            # What it answered to others says as much.
            if before.get(name) == each.finished[name]:
                with contextlib.suppress(OSError):
                    each.asked = self._ask(name, each.ensemble)
            return None
        for model in each.models:
            each.silent[model] = 0.0 if each.finished[model] != before[model] else each.silent[model] + passed
        return next((model for model in each.models if each.silent[model] >= self._patience), None)

    def _ask(self, name: str, ensemble: contract.Ensemble) -> socket.socket:
        texts = [
            {"name": each.tensor, "datatype": "BYTES", "shape": [1, 1], "data": [TEXT]} for each in ensemble.required
        ]
        body = json.dumps({"inputs": texts, "outputs": [{"name": ensemble.output.tensor}]})
        head = (
            f"POST /v2/models/{name}/infer HTTP/1.1\r\nHost: {self._address[0]}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        asked = socket.create_connection(self._address, timeout=TELL_SECONDS)
        try:
            asked.sendall((head + body).encode())
        except OSError:
            asked.close()
            raise
        return asked

    def _found(self) -> Iterator[tuple[str, _Set]]:
        """Give the sets that are served and whose task is known here."""
        for each in self._tell("POST", "/v2/repository/index"):
            if each.get("state") != "READY":
                continue
            configuration = self._tell("GET", f"/v2/models/{each['name']}/config")
            parameter = configuration.get("parameters", {}).get("task", {}).get("string_value", "")
            # A set that is a task's own need not say so, where it is no ensemble.
            task = contract.TASKS.get(parameter or each["name"])
            if task is not None:
                steps = configuration.get("ensemble_scheduling", {}).get("step", [])
                yield each["name"], _Set(task.main, [step["model_name"] for step in steps] or [each["name"]])

    def _counted(self) -> Counter[str]:
        """Return how often each model has finished anything, failures included."""
        counted: Counter[str] = Counter()
        for each in self._tell("GET", "/v2/models/stats")["model_stats"]:
            ends = sum(each["inference_stats"].get(end, {}).get("count", 0) for end in ("success", "fail"))
            counted[each["name"]] += each.get("execution_count", 0) + ends
        return counted

    def _tell(self, method: str, path: str) -> Any:
        # Not urllib: it would send the request to a proxy that the environment names.
        with contextlib.closing(http.client.HTTPConnection(*self._address, timeout=TELL_SECONDS)) as connection:
            connection.request(method, path)
            return json.loads(connection.getresponse().read())


def _has_answered(asked: socket.socket) -> bool:
    """Say whether there is an answer, of whatever kind; a connection that broke awaits none either."""
    return bool(select.select([asked], [], [], 0)[0])
