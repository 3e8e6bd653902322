"""The facade over a fake transport, with its real lifespan."""

import json
from collections.abc import Iterator

import numpy as np
import pytest
from fastapi.testclient import TestClient
from trident_api.app import create_app
from trident_api.settings import ApiSettings
from trident_client import (
    AsyncFakeTransport,
    AsyncTridentClient,
    DeadlineError,
    NotReadyError,
    OverloadedError,
    Request,
    ServerError,
    TransportError,
)

PAIR = {"sentence_1": "A man is playing a guitar.", "sentence_2": "Someone plays an instrument."}


def cosine_by_length(request: Request) -> dict[str, np.ndarray]:
    """Answer with the length of the first sentence over 100, and call sentences of 500 bytes cut."""
    length = len(request.inputs["SENTENCE_1"][0, 0])
    cut = np.array([[int(length > 500)]], dtype=np.int32)
    return {
        "SIMILARITY": np.array([[length / 100]], dtype=np.float32),
        "TRUNCATED_TOKENS_1": cut,
        "TRUNCATED_TOKENS_2": cut * 0,
    }


@pytest.fixture
def transport() -> AsyncFakeTransport:
    return AsyncFakeTransport(cosine_by_length)


@pytest.fixture
def api(transport: AsyncFakeTransport) -> Iterator[TestClient]:
    app = create_app(ApiSettings(max_body_bytes=5000), lambda settings: AsyncTridentClient(transport=transport))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client
    assert transport.closed


@pytest.mark.parametrize("path", ["/pred/sentences", "/pred/sentences/"])
def test_pred_sentences_answers_exactly_its_fields(api, path):
    answer = api.post(path, json={"sentence_1": "x" * 60, "sentence_2": "y"}, follow_redirects=False)
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"sentence_1", "sentence_2", "score", "pred", "runtime(sec)"}
    assert body["sentence_1"] == "x" * 60
    assert body["score"] == pytest.approx(0.6)
    assert body["runtime(sec)"] >= 0


@pytest.mark.parametrize(("length", "pred"), [(59, 0), (60, 1), (61, 1)])
def test_pred_follows_the_threshold(api, length, pred):
    answer = api.post("/generate", json={"sentence_1": "x" * length, "sentence_2": "y"})
    assert answer.json() == {"score": pytest.approx(length / 100), "pred": pred}


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_json_is_taken_under_any_content_type(api, content_type):
    headers = {"content-type": content_type} if content_type else {}
    assert api.post("/generate", content=json.dumps(PAIR), headers=headers).status_code == 200


def test_truncation_is_told(api):
    assert "x-truncated" not in api.post("/generate", json=PAIR).headers
    long = {**PAIR, "sentence_1": "x" * 600}
    assert api.post("/pred/sentences", json=long).headers["x-truncated"] == "true"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"sentence_1": "", "sentence_2": "b"}, "sentence_1: must hold at least one visible character"),
        ({"sentence_1": "a", "sentence_2": " \t\n"}, "sentence_2: must hold at least one visible character"),
        ({"sentence_1": "a"}, "sentence_2: Field required"),
        ({"sentence_1": 3, "sentence_2": "b"}, "sentence_1: Input should be a valid string"),
        ({"sentence_1": None, "sentence_2": "b"}, "sentence_1: Input should be a valid string"),
        ({"sentence_1": ["a"], "sentence_2": "b"}, "sentence_1: Input should be a valid string"),
        (["a", "b"], "Input should be"),
    ],
)
def test_bad_fields_are_named(api, transport, body, says):
    answer = api.post("/pred/sentences", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.json()["detail"]
    assert transport.requests == []
    assert api.post("/pred/sentences", json=PAIR).status_code == 200


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"sentence_1": "\xff", "sentence_2": "b"}', "not UTF-8 at byte 16"),
        (b'{"sentence_1"', "not JSON"),
        (b"", "body"),
        (b'{"sentence_1": "\\ud800", "sentence_2": "b"}', "lone surrogate"),
    ],
)
def test_bad_bytes_are_a_422(api, content, says):
    answer = api.post("/pred/sentences", content=content)
    assert answer.status_code == 422
    assert says in answer.json()["detail"]


@pytest.mark.parametrize("body", [{}, {"sentence_1": "a"}, {**PAIR, "passage": "p"}, {"passage": 1}, [1], "text"])
def test_generate_lists_its_shapes(api, body):
    answer = api.post("/generate", json=body)
    assert answer.status_code == 422
    assert "{sentence_1, sentence_2}" in answer.json()["detail"]


def test_a_long_body_is_refused_by_its_declared_length(api):
    answer = api.post("/pred/sentences", json={**PAIR, "sentence_1": "x" * 5000})
    assert answer.status_code == 413
    assert "5000 bytes" in answer.json()["detail"]


def test_a_long_body_is_refused_while_it_arrives(api):
    sent = 0

    def chunks() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 1
            yield b"x" * 1000

    assert api.post("/pred/sentences", content=chunks()).status_code == 413
    assert api.post("/pred/sentences", json=PAIR).status_code == 200


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (TransportError("connection refused"), 503),
        (NotReadyError("still loading"), 503),
        (OverloadedError("queue full"), 503),
        (DeadlineError("too late"), 504),
        (ServerError("broken"), 502),
    ],
)
def test_upstream_errors_have_their_status(transport, api, error, status):
    def fail(request: Request) -> dict[str, np.ndarray]:
        raise error

    transport._answer = fail
    answer = api.post("/generate", json=PAIR)
    assert answer.status_code == status
    assert answer.json()["status"] == status
    assert str(error) in answer.json()["detail"]
    assert ("retry-after" in answer.headers) == (status == 503)
    transport._answer = cosine_by_length
    assert api.post("/generate", json=PAIR).status_code == 200


def test_an_unexpected_failure_is_a_500_without_details(transport, api):
    def fail(request: Request) -> dict[str, np.ndarray]:
        raise RuntimeError("secret internals")

    transport._answer = fail
    answer = api.post("/generate", json=PAIR)
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("GET", "/generate", 405)])
def test_routing_errors_have_the_same_shape(api, method, path, status):
    answer = api.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status


def test_health(transport, api):
    assert api.get("/health/live").json() == {"status": "live"}
    assert api.get("/health/ready").status_code == 200
    transport.is_ready = False
    assert api.get("/health/live").status_code == 200
    answer = api.get("/health/ready")
    assert answer.status_code == 503
    assert "retry-after" in answer.headers


def test_the_openapi_document_describes_requests_and_errors(api):
    document = api.get("/openapi.json").json()
    assert {"/generate", "/pred/sentences", "/health/live", "/health/ready"} <= set(document["paths"])
    errors = document["paths"]["/generate"]["post"]["responses"]
    assert {"200", "413", "422", "502", "503", "504"} <= set(errors)
    assert list(errors["422"]["content"]) == ["application/problem+json"]
    schemas = document["components"]["schemas"]
    assert "Problem" in schemas
    assert "HTTPValidationError" not in schemas
    assert schemas["SentencePair"]["examples"] == [PAIR]
    assert api.get("/docs").status_code == 200
