"""What the calls of every client share; runs in the clients' own environments, with the standard library alone."""

from __future__ import annotations

import json
import os
import sys
import traceback
import urllib.request
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

#: The facade's address, and Triton's.
URL = os.environ["FACADE_URL"]
TRITON_HTTP = os.environ["TRITON_HTTP"]
TRITON_GRPC = os.environ["TRITON_GRPC"]
GUITAR = "A man is playing a guitar."
TEXTS = [GUITAR, "Someone plays an instrument.", "기타를 치는 남자"]
QUESTION = "Where does the Danube rise?"
CONTEXT = "The Danube rises in the Black Forest and flows into the Black Sea."

_calls: list[tuple[str, str, str | None, Callable[[], object]]] = []


def call(client: str, text: str, installed: str | None = None) -> Callable[[Callable[[], object]], None]:
    """Note a call.

    Args:
        client: the package that makes it.
        text: the call, as the table shows it.
        installed: the client's version, where it is no package of Python's.
    """

    def note(function: Callable[[], object]) -> None:
        _calls.append((client, text, installed, function))

    return note


def ask(path: str, body: object) -> Any:
    """Return what the facade's own form answers."""
    request = urllib.request.Request(URL + path, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.load(answer)


def embeddings(texts: Sequence[str] = TEXTS, model: str = "sts") -> list[list[float]]:
    """Return the embeddings that a client must get."""
    found: list[list[float]] = ask("/embed", {"sentences": texts, "model": model})["embeddings"]
    return found


def check(found: Any, expected: Any, tolerance: float = 4e-3) -> None:
    """Fail where numbers, in lists of any depth, are not those that are expected.

    In bfloat16 an embedding differs with what else is in its batch: by 0.001 in a component of 0.04 among a thousand.
    """
    if isinstance(expected, list):
        found = list(found)
        if len(found) != len(expected):
            raise ValueError(f"{len(found)} values where {len(expected)} are expected")
        for each, wanted in zip(found, expected):  # noqa: B905 - as old Pythons have it
            check(each, wanted, tolerance)
    elif not abs(float(found) - expected) <= tolerance:
        raise ValueError(f"{found} where {expected} is expected")


def raises(kind: type[BaseException], function: Callable[[], object], message: str = "") -> None:
    """Fail where a call does not raise an error with a text in its message."""
    try:
        function()
    except kind as error:
        if message not in str(error):
            raise ValueError(f"the error does not say {message!r}") from error
    else:
        raise ValueError(f"no {kind.__name__} was raised")


def main() -> None:
    """Make all calls, and write what became of each as a line of JSON."""
    for client, text, installed, function in _calls:
        error = None
        try:
            function()
        except Exception as failure:
            traceback.print_exc()
            error = f"{type(failure).__name__}: {failure}"
        row = {"client": client, "version": installed or version(client), "call": text, "error": error}
        print(json.dumps(row), file=sys.__stdout__, flush=True)
