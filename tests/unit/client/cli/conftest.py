"""The command line over a fake transport."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from trident_client import BadInputError, FakeTransport, Request, TridentClient
from trident_client.cli import answering
from trident_client.cli import app as commands
from typer.testing import CliRunner


def answer(request: Request) -> dict[str, np.ndarray]:
    """Answer with a hundredth of the length of the text, the first one of a pair; refuse the text ``refuse``."""
    if request.outputs[0] == "ANSWER":
        return answer_question(request)
    # Of a query and a text, the text is what is scored.
    texts = request.inputs.get("TEXT_2", next(iter(request.inputs.values())))[:, 0]
    if b"refuse" in texts:
        raise BadInputError(f"TEXT {list(texts).index(b'refuse')} is refused", request.model, server="a:1")
    values = np.array([[len(text) / 100] for text in texts], dtype=np.float32)
    cut = {name: (values > 10).astype(np.int32) for name in request.outputs if name.startswith("TRUNCATED")}
    unknown = np.array([["👍".encode() in text] for text in texts], dtype=np.int32)
    cut |= {name: unknown for name in request.outputs if name.startswith("UNKNOWN")}
    found = {request.outputs[0]: values.repeat(3, axis=1) if request.outputs[0] == "EMBEDDING" else values, **cut}
    return found | ({"LOGITS": 10 * values} if "LOGITS" in request.outputs else {})


def answer_question(request: Request) -> dict[str, np.ndarray]:
    """Answer with the context's first words."""
    words = request.inputs["CONTEXT"][0, 0].split()[: request.inputs["TOP_K"][0, 0]]
    return {
        "ANSWER": np.array([words], dtype=np.object_),
        "SCORE": np.array([[0.5 / (place + 1) for place in range(len(words))]], dtype=np.float32),
        "START": np.zeros((1, len(words)), dtype=np.int32),
        "END": np.ones((1, len(words)), dtype=np.int32),
    }


@pytest.fixture
def transport() -> FakeTransport:
    return FakeTransport(answer)


@pytest.fixture
def trident(transport, monkeypatch, tmp_path):
    """Runs ``trident`` in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def make_client(url, protocol, timeout, attempts, concurrency=4):
        return TridentClient(transport=transport, concurrency=concurrency)

    for module in (answering, commands):
        monkeypatch.setattr(module, "make_client", make_client)

    def run(*arguments: str, stdin: bytes | None = None):
        return CliRunner().invoke(commands.app, arguments, input=stdin)

    return run


@pytest.fixture
def terminal(monkeypatch):
    """Standard input as it is at a terminal: nothing comes from it."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
