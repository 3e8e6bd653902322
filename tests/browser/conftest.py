"""A Chromium of this machine, and the facade on a port, with answers that need no Triton."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect, sync_playwright
from trident_api.app import create_app
from trident_api.settings import ApiSettings
from trident_client import AsyncFakeTransport, AsyncTridentClient, Request, Response
from trident_server.ports import free_ports

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SECONDS_TO_START = 30.0
MILLISECONDS_TO_APPEAR = 30_000
ANSWERS = ("Black Forest", "Germany", "Black Sea", "검룡소")
CONFIGURATIONS = {
    "cola": {"parameters": {"task": {"string_value": "cola"}, "languages": {"string_value": "en"}}},
    "sts": {
        "parameters": {
            "task": {"string_value": "sts"},
            "languages": {"string_value": "en"},
            "metrics": {"string_value": '{"spearman": 0.8899, "pearson": 0.8903}'},
            "export": {"string_value": '{"dtype": "int8", "speed": {"tokens_per_second": 9876}}'},
        }
    },
    "sts_embedding": {"output": [{"name": "EMBEDDING", "dims": [7]}]},
    "sts_tokenizer": {"parameters": {"max_length": {"string_value": "256"}}},
    "qa_tokenizer": {"parameters": {"max_length": {"string_value": "384"}}},
    "sts_ko": {"parameters": {"task": {"string_value": "sts"}, "languages": {"string_value": "ko"}}},
    "qa": {"parameters": {"task": {"string_value": "qa"}, "languages": {"string_value": "en"}}},
    "qa_ko": {"parameters": {"task": {"string_value": "qa"}, "languages": {"string_value": "ko"}}},
    "rerank": {"parameters": {"task": {"string_value": "rerank"}, "languages": {"string_value": "en"}}},
}


def answer(request: Request) -> Response:
    """Call sentences with "are" unacceptable, texts with one first letter similar, and places in a passage answers.

    A text belongs to a query as far as it has its words.
    A passage without places has no answer; its first word is the next best one.
    """
    if request.model.startswith("qa"):
        context = request.inputs["CONTEXT"][0, 0].decode()
        found = [each for each in ANSWERS if each in context] or ["", context.split()[0]]
        starts = [context.index(each) for each in found]
        return {
            "ANSWER": np.array([[each.encode() for each in found]], dtype=np.object_),
            "SCORE": np.array([[0.7 / (1 + place) for place in range(len(found))]], dtype=np.float32),
            "START": np.array([starts], dtype=np.int32),
            "END": np.array([[start + len(each) for start, each in zip(starts, found, strict=True)]], dtype=np.int32),
        }
    if "IDS" in request.inputs:
        return {"DECODED": np.array([[b"two words"]] * len(request.inputs["IDS"]), dtype=np.object_)}
    name = "SENTENCE_1" if "SENTENCE_1" in request.inputs else "TEXT"
    texts = [text.decode() for text in request.inputs[name][:, 0]]
    cut = np.array([[int(len(text) > 1000)] for text in texts], dtype=np.int32)
    if "WITH_TOKENS" in request.inputs:
        told = [[json.dumps([[7, text, False, 0, len(text)]]).encode()] for text in texts]
        return {"TOKENS": np.array(told, dtype=np.object_)}
    if request.model == "rerank":
        words = [set(text.split()) for text in texts]
        others = [set(text.decode().split()) for text in request.inputs["TEXT_2"][:, 0]]
        shares = [[len(query & other) / len(query)] for query, other in zip(words, others, strict=True)]
        scores = np.array(shares, dtype=np.float32)
        return {"SCORES": scores, "LOGITS": scores, "TOKEN_COUNT": cut + 3, "TRUNCATED_TOKENS": cut}
    if request.model == "cola":
        probabilities = [[0.04 if " are " in text else 0.96] for text in texts]
        return {"PROBABILITY": np.array(probabilities, dtype=np.float32), "TRUNCATED_TOKENS": cut}
    if request.model.endswith("_embedding"):
        vectors = np.array([[ord(text[0]) % 7 == place for place in range(7)] for text in texts], dtype=np.float32)
        return {"EMBEDDING": vectors, "TOKEN_COUNT": cut + 3, "TRUNCATED_TOKENS": cut}
    ones = np.ones((len(texts), 1), dtype=np.float32)
    return {"SIMILARITY": ones, "TRUNCATED_TOKENS_1": cut, "TRUNCATED_TOKENS_2": cut}


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Serves the facade over a fake transport, with settings of its own, and returns its address."""
    with contextlib.ExitStack() as running:

        def start(**settings: Any) -> str:
            transport = AsyncFakeTransport(answer, configurations=CONFIGURATIONS)
            app = create_app(ApiSettings(**settings), lambda settings: AsyncTridentClient(transport=transport))
            (port,) = free_ports(1)
            server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", timeout_graceful_shutdown=2))
            thread = threading.Thread(target=server.run)
            thread.start()
            running.callback(thread.join)
            running.callback(setattr, server, "should_exit", True)
            deadline = time.monotonic() + SECONDS_TO_START
            while not server.started:
                assert thread.is_alive(), "the facade did not start"
                assert time.monotonic() < deadline, "the facade did not start"
                time.sleep(0.02)
            return f"http://127.0.0.1:{port}"

        yield start


# Not for the session: while it runs, Playwright's event loop is the thread's, and no other test may have one.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian's package is called chromium)")
    expect.set_options(timeout=MILLISECONDS_TO_APPEAR)
    with sync_playwright() as playwright:
        # As root, which a container's user often is, Chromium runs without its sandbox or not at all.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, serve: Callable[..., str]) -> Iterator[Callable[..., Page]]:
    """Opens a path of the facade; the test fails if the page asks elsewhere or reports an error."""
    foreign: list[str] = []
    errors: list[str] = []
    with contextlib.ExitStack() as contexts:

        def open_path(path: str = "/", *, address: str | None = None, **options: Any) -> Page:
            address = address or serve()
            context = browser.new_context(**{"locale": "en-US"} | options)
            contexts.callback(context.close)
            page = context.new_page()
            page.on("request", lambda request: request.url.startswith(address) or foreign.append(request.url))
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("console", lambda message: message.type == "error" and errors.append(message.text))
            page.goto(address + path)
            return page

        yield open_path
    assert [url for url in foreign if not url.startswith(("data:", "blob:"))] == []
    # A refused request shows in the console whether the page deals with it or not.
    assert [each for each in errors if "Failed to load resource" not in each] == []
