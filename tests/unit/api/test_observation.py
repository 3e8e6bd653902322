"""What is told of a request: headers, metrics, and a log without users' words."""

import gc
import json
import logging

import pytest
from fastapi.testclient import TestClient
from trident_api.app import _left_out_of_garbage_collection as left_out_of_garbage_collection
from trident_api.app import create_app
from trident_api.log import LOGGER, JsonFormatter
from trident_api.settings import ApiSettings
from trident_client import AsyncTridentClient, ServerError

SECRET = "my secret diary"


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, logger=LOGGER)
    return lambda: [json.loads(JsonFormatter().format(each)) for each in caplog.records if each.name.startswith(LOGGER)]


def test_an_answer_carries_its_times_and_an_id(api):
    answer = api.post("/generate", json={"passage": "a"})
    assert len(answer.headers["x-request-id"]) == 32
    assert float(answer.headers["x-queue-time"]) >= 0
    assert float(answer.headers["x-inference-time"]) > 0
    # Triton tells no request's own, so none is made up.
    assert "x-tokenization-time" not in answer.headers
    assert "x-inference-time" not in api.get("/health/live").headers


@pytest.mark.parametrize(
    ("given", "kept"), [("abc-1.2:3", True), ("a" * 128, True), ("a" * 129, False), ("a b", False), ("<b>", False)]
)
def test_a_request_keeps_its_own_id_if_it_is_one(api, given, kept):
    answer = api.get("/health/live", headers={"x-request-id": given})
    assert (answer.headers["x-request-id"] == given) == kept
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("GET", "/nothing", b""), ("GET", "/qa", b""), ("POST", "/qa", b"{"), ("POST", "/qa", b"x" * 2_000_000)],
)
def test_errors_carry_an_id_too(api, method, path, body):
    assert api.request(method, path, content=body).headers["x-request-id"]


def test_requests_are_counted_by_route_and_never_by_what_was_asked_for(api):
    api.post("/generate", json={"passage": "a"})
    api.post("/generate", json={"passage": ""})
    api.post("/similarity", json={"pairs": [{"sentence_1": "a", "sentence_2": "b"}] * 3})
    api.get("/v1/models/sts")
    for number in range(20):
        api.get(f"/nothing/{number}")
    api.request("BREW", "/generate")
    text = api.get("/metrics").text
    assert 'trident_http_requests_total{method="POST",route="/generate",status="200"} 1.0\n' in text
    assert 'trident_http_requests_total{method="POST",route="/generate",status="422"} 1.0\n' in text
    assert 'route="/v1/models/{model}",status="200"} 1.0\n' in text
    assert 'trident_http_requests_total{method="GET",route="none",status="404"} 20.0\n' in text
    assert 'method="other"' in text
    assert "/nothing" not in text
    assert 'trident_http_request_seconds_count{route="/generate"} 3.0\n' in text
    assert 'trident_batch_size_sum{task="sts"} 3.0\n' in text
    assert 'trident_joined_size_sum{task="sts"} 3.0\n' in text
    assert 'trident_inference_seconds_count{task="cola"} 1.0\n' in text
    # The one that asks.
    assert "trident_http_requests_in_flight 1.0\n" in text


def test_failures_of_triton_are_counted_by_kind(api, transport):
    def fail(request):
        raise ServerError(SECRET)

    transport._answer = fail
    api.post("/generate", json={"passage": "a"})
    assert 'trident_upstream_errors_total{kind="ServerError",task="cola"} 1.0\n' in api.get("/metrics").text


def test_a_request_is_one_line_of_json(api, log):
    answer = api.post("/acceptability", json={"sentences": ["a", "b" * 600]})
    (entry,) = log()
    assert entry["request_id"] == answer.headers["x-request-id"]
    assert (entry["route"], entry["status"], entry["task"], entry["size"]) == ("/acceptability", 200, "cola", 2)
    assert entry["truncated"] is True
    assert entry["seconds"] >= entry["inference_seconds"] > 0
    api.get("/health/live")
    assert len(log()) == 1


def test_the_log_holds_no_users_words(api, transport, log):
    api.post("/generate", json={"passage": SECRET})
    api.post("/generate", json={"passages": SECRET})
    api.post("/generate", content=SECRET)
    api.get(f"/{SECRET}?q={SECRET}")

    def fail(request):
        raise ServerError(SECRET)

    def break_down(request):
        raise RuntimeError(SECRET)

    for answer in (fail, break_down):
        transport._answer = answer
        api.post("/generate", json={"passage": SECRET})
    assert [entry["status"] for entry in log() if "status" in entry] == [200, 422, 422, 404, 502, 500]
    assert SECRET not in json.dumps(log())
    assert SECRET.split()[1] not in json.dumps(log())


def test_a_failure_inside_is_logged_with_its_place(api, transport, log):
    def break_down(request):
        raise RuntimeError(SECRET)

    transport._answer = break_down
    answer = api.post("/generate", json={"passage": "a"})
    assert answer.status_code == 500
    failure = next(entry for entry in log() if entry["message"] == "the facade failed")
    assert failure["error"] == "RuntimeError"
    assert failure["request_id"] == answer.headers["x-request-id"]
    assert "break_down" in failure["at"][-1]


def test_what_was_there_before_the_first_request_is_left_out_of_garbage_collection(transport, monkeypatch):
    monkeypatch.setattr("trident_api.app._left_out_of_garbage_collection", left_out_of_garbage_collection)
    gc.unfreeze()
    app = create_app(ApiSettings(), lambda settings: AsyncTridentClient(transport=transport))
    with TestClient(app):
        assert gc.get_freeze_count() > 10_000
    assert gc.get_freeze_count() == 0
    # As the suite has it.
    gc.freeze()
