"""What every bare loop shares: it reports over a socket that it is ready, then does the jobs that it gets.

Standard library only, for it runs in every peer's own environment. Whoever measures listens on a Unix socket; both
sides write one JSON object a line. A program first sends ``{"ready": <facts>}``, then answers ``{"job": <name>,
<options>}`` by what the job returned, or by ``{"error": <text>}``.
"""

from __future__ import annotations

import argparse
import json
import socket
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Job = Callable[..., Mapping[str, Any]]


def arguments(description: str, **options: dict[str, Any]) -> argparse.Namespace:
    """Read every program's arguments: where to connect, the model, the texts, and its threads; and its own options."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--socket", required=True, help="Unix socket of whoever measures")
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of the Hugging Face model")
    parser.add_argument("--texts", type=Path, required=True, help="JSON file of what to measure with")
    parser.add_argument("--threads", type=int, required=True, help="threads inside an operation")
    for name, keywords in options.items():
        parser.add_argument(f"--{name.replace('_', '-')}", **keywords)
    return parser.parse_args()


def serve(address: str, facts: Mapping[str, Any], jobs: Mapping[str, Job]) -> None:
    """Report what this is and work until the other side closes."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        lines = connection.makefile("rw", encoding="utf-8")
        _write(lines, {"ready": dict(facts)})
        for line in lines:
            order = json.loads(line)
            try:
                answer = jobs[order.pop("job")](**order)
            except Exception as error:  # whatever it is, whoever measures shall report it
                traceback.print_exc()
                answer = {"error": f"{type(error).__name__}: {error}"}
            _write(lines, answer)


def timed(call: Callable[[Any], object], batches: Sequence[tuple[int, Any]], seconds: float) -> dict[str, Any]:
    """Call with each batch in turn, the whole pass again and again until the seconds are over.

    Whole passes, so that every contender gets the same mixture of lengths.

    Args:
        call: what is measured.
        batches: how many items each holds, and what to call with.
        seconds: after which no further pass begins.

    Returns:
        ``items`` in all, ``seconds`` in all, and the ``times`` of every call in seconds.
    """
    for _, batch in batches[:2]:
        call(batch)
    times: list[float] = []
    items = 0
    began = now = time.perf_counter()
    while now - began < seconds:
        for count, batch in batches:
            start = now
            call(batch)
            now = time.perf_counter()
            times.append(now - start)
            items += count
    return {"items": items, "seconds": now - began, "times": times}


def cut(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    """Cut a list into batches in its own order."""
    return (items[start : start + size] for start in range(0, len(items), size))


def _write(lines: Any, answer: Mapping[str, Any]) -> None:
    lines.write(json.dumps(answer) + "\n")
    lines.flush()
