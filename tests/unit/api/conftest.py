"""What the facade's tests share: answers in Triton's place, and applications over them."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from trident_api.app import create_app
from trident_api.settings import ApiSettings
from trident_client import AsyncFakeTransport, AsyncTridentClient, Request, Response

DIMENSION = 8


def _answer_by_length(request: Request) -> Response:
    """Answer with the length of the (first) sentence over 100, and call sentences of 500 bytes cut.

    A question's answers are the digits from 0, scored by the longest answer's tokens over 100. An embedding's first
    component grows with the length; a text has as many tokens as words, and two more. Where a text loses its beginning,
    the first component is 0.
    """
    if request.model == "cola":
        lengths = np.array([[len(text)] for text in request.inputs["TEXT"][:, 0]])
        unknown = np.array([["👍".encode() in text] for text in request.inputs["TEXT"][:, 0]], dtype=np.int32)
        counts = {"TRUNCATED_TOKENS": np.int32(lengths > 500), "UNKNOWN_TOKENS": unknown}
        return {"PROBABILITY": np.float32(lengths / 100), **counts}
    if "IDS" in request.inputs:
        rows = [[each for each in row if each != -1] for row in request.inputs["IDS"].tolist()]
        kept = request.inputs["WITH_SPECIAL"][:, 0]
        texts = [
            " ".join(str(each) for each in row if each < 100 or flag) for row, flag in zip(rows, kept, strict=True)
        ]
        return {"DECODED": np.array([[text.encode()] for text in texts], np.object_)}
    if "WITH_TOKENS" in request.inputs:
        return {"TOKENS": np.array([[_told(text.decode())] for text in request.inputs["TEXT"][:, 0]], np.object_)}
    if request.model == "qa":
        places = np.arange(request.inputs["TOP_K"][0, 0], dtype=np.int32)[None]
        words = np.array([[f"{place}".encode() for place in places[0]]], dtype=np.object_)
        most = request.inputs["MAX_ANSWER_TOKENS"][0, 0] if "MAX_ANSWER_TOKENS" in request.inputs else 30
        unknown = np.array([["👍".encode() in request.inputs["QUESTION"][0, 0]]], dtype=np.int32)
        scores = np.float32(most / 100 / (places + 1))
        return {"ANSWER": words, "SCORE": scores, "START": places, "END": places + 1, "UNKNOWN_TOKENS": unknown}
    if request.model.endswith("_encoder"):
        vectors = np.ones((len(request.inputs["INPUT_IDS"]), DIMENSION), dtype=np.float32)
        vectors[:, 0] = np.maximum(request.inputs["INPUT_IDS"], 0).sum(1)
        return {"EMBEDDING": vectors / np.linalg.norm(vectors, axis=1, keepdims=True)}
    if request.model.endswith("_embedding"):
        texts = request.inputs["TEXT"][:, 0]
        vectors = np.ones((len(texts), DIMENSION), dtype=np.float32)
        vectors[:, 0] = [len(text) for text in texts] if "TRUNCATE_LEFT" not in request.inputs else 0
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        counts = np.array([[len(text.split()) + 2] for text in texts], dtype=np.int32)
        cut = np.array([[int(len(text) > 500)] for text in texts], dtype=np.int32)
        return {"EMBEDDING": vectors, "TOKEN_COUNT": counts, "TRUNCATED_TOKENS": cut}
    lengths = np.array([[len(text)] for text in request.inputs["SENTENCE_1"][:, 0]])
    cut = np.int32(lengths > 500)
    return {"SIMILARITY": np.float32(lengths / 100), "TRUNCATED_TOKENS_1": cut, "TRUNCATED_TOKENS_2": cut * 0}


def _told(text: str) -> bytes:
    """Tell of a text's words, framed, as tokenizers of the repository do."""
    words = [[len(each[0]), f"_{each[0]}", False, *each.span()] for each in re.finditer(r"\S+", text)]
    return json.dumps([[101, "[CLS]", True, None, None], *words, [102, "[SEP]", True, None, None]]).encode()


@pytest.fixture(scope="session")
def answer_by_length() -> Callable[[Request], Response]:
    return _answer_by_length


CONFIGURATIONS = {
    "sts": {"parameters": {"task": {"string_value": "sts"}}},
    "sts_embedding": {"output": [{"name": "EMBEDDING", "dims": [DIMENSION]}]},
    "sts_tokenizer": {"parameters": {"max_length": {"string_value": "12"}, "vocabulary": {"string_value": "1000"}}},
    "sts_ko": {"parameters": {"task": {"string_value": "sts"}, "languages": {"string_value": "ko"}}},
    "cola": {"parameters": {"task": {"string_value": "cola"}}},
    "qa": {"parameters": {"task": {"string_value": "qa"}}},
}


@pytest.fixture(scope="session")
def configurations() -> dict[str, dict[str, object]]:
    return CONFIGURATIONS


@pytest.fixture
def transport() -> AsyncFakeTransport:
    return AsyncFakeTransport(_answer_by_length, configurations=CONFIGURATIONS)


@pytest.fixture
def make_api(transport: AsyncFakeTransport) -> Iterator[Callable[..., TestClient]]:
    """Makes an application over the fake transport, with settings of its own, and runs it until the test ends."""
    with contextlib.ExitStack() as running:

        def make(**settings: object) -> TestClient:
            app = create_app(ApiSettings(**settings), lambda settings: AsyncTridentClient(transport=transport))
            return running.enter_context(TestClient(app, raise_server_exceptions=False))

        yield make


@pytest.fixture
def api(make_api: Callable[..., TestClient]) -> TestClient:
    return make_api()


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    file = tmp_path / "keys"
    file.write_text("# of the first team\nfirst-key\n\nsecond-key\n", "utf-8")
    return file
