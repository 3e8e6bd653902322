"""Triton's own trace: when each request arrived, waited, was computed and was answered.

https://github.com/triton-inference-server/server/blob/r24.10/docs/user_guide/trace.md describes the file. Its clock is
the monotonic one of this machine, which is the client's too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trident_bench.ensembles import Ensemble
from trident_bench.errors import BenchError

ARRIVED = ("HTTP_RECV_START", "GRPC_WAITREAD_END")
SENDING = ("HTTP_SEND_START", "GRPC_SEND_START")


@dataclass
class TracedRequest:
    """One request of an ensemble.

    Attributes:
        marks: its timestamps by name, in nanoseconds.
        steps: those of its steps, by model.
    """

    marks: dict[str, int]
    steps: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def arrived(self) -> int:
        """When Triton's front end had it (gRPC), or began to read it (HTTP)."""
        return next(self.marks[name] for name in ARRIVED if name in self.marks)

    @property
    def sending(self) -> int:
        """When the front end began to send the answer."""
        return next(self.marks[name] for name in SENDING if name in self.marks)


def trace_arguments(file: Path) -> list[str]:
    """Return what makes Triton write when each request passed where."""
    settings = ("mode=triton", f"triton,file={file}", "level=TIMESTAMPS", "rate=1", "count=-1")
    return [f"--trace-config={each}" for each in settings]


def read_trace(file: Path) -> list[TracedRequest]:
    """Return the requests of a trace file, those of single models left out.

    Raises:
        BenchError: it is not there, or is no trace.
    """
    try:
        entries = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise BenchError(f"Triton left no readable trace: {error}") from error
    return collect(entries)


def collect(entries: Sequence[Mapping[str, Any]]) -> list[TracedRequest]:
    """Put a trace's entries together to requests."""
    facts: dict[int, dict[str, Any]] = {}
    marks: dict[int, dict[str, int]] = {}
    for entry in entries:
        if "model_name" in entry:
            facts[entry["id"]] = dict(entry)
        for each in entry.get("timestamps", ()):
            marks.setdefault(entry["id"], {})[each["name"]] = int(each["ns"])
    requests = {
        number: TracedRequest(marks.get(number, {})) for number, fact in facts.items() if "parent_id" not in fact
    }
    for number, fact in facts.items():
        if (parent := requests.get(fact.get("parent_id", -1))) is not None:
            parent.steps[fact["model_name"]] = marks.get(number, {})
    return [each for each in requests.values() if each.steps]


def between(trace: Sequence[TracedRequest], ensemble: Ensemble, begin: int, end: int) -> list[TracedRequest]:
    """Return the ensemble's requests that arrived in a span of time."""
    models = set(ensemble.steps)
    return [each for each in trace if set(each.steps) == models and begin <= each.arrived <= end]
