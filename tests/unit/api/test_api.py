"""The facade over a fake transport, with its real lifespan."""

import asyncio
import json
from collections.abc import Callable, Iterator
from http import HTTPStatus

import numpy as np
import pytest
from fastapi.testclient import TestClient
from trident_api.app import create_app
from trident_api.catalogue import Catalogue
from trident_api.problems import HUB_PATHS
from trident_api.settings import ApiSettings
from trident_client import (
    AsyncFakeTransport,
    AsyncTridentClient,
    DeadlineError,
    NotReadyError,
    OverloadedError,
    Request,
    Response,
    Retry,
    ServerError,
    TransportError,
    UsageError,
    _http,
)

PAIR = {"sentence_1": "A man is playing a guitar.", "sentence_2": "Someone plays an instrument."}


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
    assert len(str(body["runtime(sec)"]).partition(".")[2]) <= 6, "no noise of floats"


@pytest.mark.parametrize(("length", "pred"), [(59, 0), (60, 1), (61, 1)])
def test_pred_follows_the_threshold(api, length, pred):
    answer = api.post("/generate", json={"sentence_1": "x" * length, "sentence_2": "y"})
    assert answer.json() == {"score": pytest.approx(length / 100), "pred": pred}


def test_a_passage_is_answered_with_its_probability_alone(api):
    assert api.post("/generate", json={"passage": "x" * 25}).json() == {"prob": pytest.approx(0.25)}


def test_acceptability_takes_a_list(api, transport):
    sentences = ["x" * (1 + index % 20) for index in range(130)]
    answer = api.post("/acceptability", json={"sentences": sentences})
    assert answer.json() == {"probs": [pytest.approx(len(each) / 100) for each in sentences]}
    assert len(transport.requests) == 3
    assert api.post("/acceptability", json={"sentences": []}).json() == {"probs": []}
    refused = api.post("/acceptability", json={"sentences": ["fine", ""]})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "sentences.1"


@pytest.mark.parametrize("path", ["/qa", "/generate"])
def test_a_question_is_answered_with_its_span(api, path):
    question = {"question": "Which?", "context": "0123"}
    assert api.post(path, json=question).json() == {"answer": "0", "score": pytest.approx(0.3), "start": 0, "end": 1}
    several = api.post(path, json=question | {"top_k": 2, "max_answer_tokens": 10}).json()
    assert several == [
        {"answer": "0", "score": pytest.approx(0.1), "start": 0, "end": 1},
        {"answer": "1", "score": pytest.approx(0.05), "start": 1, "end": 2},
    ]


@pytest.mark.parametrize("path", ["/qa", "/generate"])
def test_no_answer_may_be_ruled_out(api, transport, path):
    question = {"question": "Which?", "context": "0123"}
    assert api.post(path, json=question | {"no_answer": False}).status_code == 200
    assert api.post(path, json=question | {"no_answer": True}).status_code == 200
    assert ["NO_ANSWER" in request.inputs for request in transport.requests] == [True, False]
    if path == "/qa":
        api.post(path, json={"questions": [question], "no_answer": False})
        assert transport.requests[-1].inputs["NO_ANSWER"].tolist() == [[0]]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"question": " "}, "question"),
        ({"no_answer": 0}, "no_answer"),
        ({"context": ""}, "context"),
        ({"context": None}, "context"),
        ({"top_k": 0}, "top_k"),
        ({"top_k": 101}, "top_k"),
        ({"top_k": "2"}, "top_k"),
        ({"max_answer_tokens": 513}, "max_answer_tokens"),
    ],
)
@pytest.mark.parametrize("path", ["/qa", "/generate"])
def test_a_bad_field_of_a_question_is_named(api, transport, path, change, field):
    answer = api.post(path, json={"question": "Which?", "context": "0123"} | change)
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == [field]
    assert transport.requests == []


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_json_is_taken_under_any_content_type(api, content_type):
    headers = {"content-type": content_type} if content_type else {}
    assert api.post("/generate", content=json.dumps(PAIR), headers=headers).status_code == 200


def test_what_the_vocabulary_cannot_read_is_told(api):
    assert "x-unknown-tokens" not in api.post("/generate", json={"passage": "Good."}).headers
    assert api.post("/generate", json={"passage": "Good 👍."}).headers["x-unknown-tokens"] == "true"
    several = api.post("/acceptability", json={"sentences": ["a 👍", "b", "c", "d 👍", "e 👍"]}).headers
    assert (several["x-unknown-tokens"], several["x-unknown-items"]) == ("true", "0,3-4")
    asked = [{"question": question, "context": "A thumb."} for question in ("What?", "What is 👍?")]
    assert "x-unknown-tokens" not in api.post("/qa", json=asked[0]).headers
    assert api.post("/qa", json=asked[1]).headers["x-unknown-tokens"] == "true"
    assert api.post("/qa", json={"questions": asked}).headers["x-unknown-items"] == "1"


@pytest.mark.parametrize(
    ("languages", "passage", "told"),
    [("en", "나는 소년이다", "ko"), ("en", "Kimchi, 김치, is good.", None), ("en,ko-KR", "나는 소년이다", None),
     ("", "나는 소년이다", None)],
)  # fmt: skip
def test_a_text_in_a_language_that_the_set_does_not_name_is_told_and_answered(api, transport, languages, passage, told):
    named = {"task": {"string_value": "cola"}, "languages": {"string_value": languages}}
    transport.configurations["cola"] = {"parameters": named}
    for path, body in (("/generate", {"passage": passage}), ("/acceptability", {"sentences": ["Good.", passage]})):
        answer = api.post(path, json=body)
        assert (answer.status_code, answer.headers.get("x-unread-language")) == (200, told)
    # Another set's languages are its own.
    assert "x-unread-language" not in api.post("/embed", json={"sentences": [passage], "model": "sts_ko"}).headers


def test_truncation_is_told(api):
    assert "x-truncated" not in api.post("/generate", json=PAIR).headers
    long = {**PAIR, "sentence_1": "x" * 600}
    assert api.post("/pred/sentences", json=long).headers["x-truncated"] == "true"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"sentence_1": "", "sentence_2": "b"}, "sentence_1: must hold at least one visible character"),
        ({"sentence_1": "a", "sentence_2": " \t\n"}, "sentence_2: must hold at least one visible character"),
        ({"sentence_1": "\u200b\ufeff", "sentence_2": "a"}, "sentence_1: must hold at least one visible character"),
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


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"sentence_1": "a"},
        {**PAIR, "passage": "p"},
        {"passages": 1},
        {"question": "a", "context": "b", "k": 1},
        [1],
        "text",
    ],
)
def test_generate_lists_its_shapes(api, body):
    answer = api.post("/generate", json=body)
    assert answer.status_code == 422
    assert "{passage} or {sentence_1, sentence_2} or {question, context}" in answer.json()["detail"]


@pytest.mark.parametrize("passage", [1, None, "", "  "])
def test_generate_names_the_field_of_the_shape_it_was_given(api, passage):
    answer = api.post("/generate", json={"passage": passage})
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == ["passage"]


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
        (OverloadedError("queue full"), 429),
        (DeadlineError("too late"), 504),
        (ServerError("broken"), 502),
    ],
)
def test_upstream_errors_have_their_status(transport, api, answer_by_length, error, status):
    def fail(request: Request) -> dict[str, np.ndarray]:
        raise error

    transport._answer = fail
    answer = api.post("/generate", json=PAIR)
    assert answer.status_code == status
    assert answer.json()["status"] == status
    assert str(error) in answer.json()["detail"]
    assert ("retry-after" in answer.headers) == (status in {429, 503})
    transport._answer = answer_by_length
    assert api.post("/generate", json=PAIR).status_code == 200


TORCHSCRIPT = """model 'cola': PyTorch failure: The following operation failed in the TorchScript interpreter.
Traceback of TorchScript, serialized code (most recent call last):
  File "code/__torch__/transformers/models/bert.py", line 8, in forward
    return (n).forward(x, )
            ~~~~~~~~~~ <--- HERE
class N(Module):
  __parameters__ = []

Traceback of TorchScript, original code (most recent call last):
  File "/usr/lib/python3.11/site-packages/transformers/models/bert.py", line 4, in forward
        y = torch.empty([1 << 50])
            ~~~~~~~~~~~ <--- HERE
RuntimeError: [enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory
"""
STUB = """in ensemble 'cola', Failed to process the request(s) for model 'cola_0_0', message: KeyError: 'x'

At:
  /srv/models/cola_tokenizer/1/model.py(23): execute
"""
PYTHON = """Internal: Traceback (most recent call last):
  File "/srv/model.py", line 3, in execute
    tokenizers.exceptions.Error
ValueError: first
  and second line
"""
CPP = "expected 2 rows\nException raised from at ../aten/x.cpp:1 (most recent call first):\nframe #0: 0xffffff"


@pytest.mark.parametrize(
    ("says", "told"),
    [
        (
            TORCHSCRIPT,
            "model 'cola': PyTorch failure: RuntimeError: DefaultCPUAllocator: can't allocate memory",
        ),
        (
            STUB,
            "in ensemble 'cola', Failed to process the request(s) for model 'cola_0_0', message: KeyError: 'x'",
        ),
        (PYTHON, "Internal: ValueError: first and second line"),
        (CPP, "expected 2 rows"),
        ("unable to open '/srv/models/sts/1/model.pt': no such file", "unable to open '': no such file"),
        ("[request id: 7] a/b and http://there/a/b/c, 3 / 4", "[request id: 7] a/b and http://there/a/b/c, 3 / 4"),
    ],
)
def test_an_error_says_what_failed_and_not_where_on_the_server(transport, api, says, told):
    def fail(request: Request) -> dict[str, np.ndarray]:
        raise ServerError(says)

    transport._answer = fail
    answer = api.post("/generate", json=PAIR)
    assert (answer.status_code, answer.json()["detail"]) == (502, told)
    assert api.post("/v1/embeddings", json={"model": "sts", "input": "x"}).json()["error"]["message"] == told


def test_an_unexpected_failure_is_a_500_without_details(transport, api):
    def fail(request: Request) -> dict[str, np.ndarray]:
        raise RuntimeError("secret internals")

    transport._answer = fail
    answer = api.post("/generate", json=PAIR)
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("GET", "/nothing", 404, "Not Found"),
        ("GET", "/generate", 405, "GET is not accepted here; accepted is POST."),
        ("POST", "/models", 405, "POST is not accepted here; accepted is GET."),
    ],
)
def test_routing_errors_have_the_same_shape(api, method, path, status, said):
    answer = api.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json()["status"], answer.json()["detail"]) == (status, said)


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


def test_each_error_in_the_document_has_an_example_of_its_own_status(make_api, tmp_path):
    (tmp_path / "keys").write_text("open sesame\n")
    paths = make_api(api_keys_file=tmp_path / "keys").get("/openapi.json").json()["paths"]
    examples = [
        (path, int(status), response["content"]["application/problem+json"]["example"])
        for path, operations in paths.items()
        for operation in operations.values()
        for status, response in operation["responses"].items()
        if int(status) >= 400
    ]
    assert {status for _, status, _ in examples} >= {400, 401, 404, 413, 415, 422, 429, 500, 502, 503, 504}
    for path, status, example in examples:
        assert (example["status"], example["title"]) == (status, HTTPStatus(status).phrase), path
        # OpenAI's clients read a member of their own, and the hub's two.
        assert ("error" in example) == (path.startswith("/v1/") or path in HUB_PATHS), path
        assert ("error_type" in example) == (path in HUB_PATHS), path


def test_what_a_request_must_name_has_an_example_to_try_it_with(api):
    named = [
        (path, parameter["name"], "examples" in parameter)
        for path, operations in api.get("/openapi.json").json()["paths"].items()
        for operation in operations.values()
        for parameter in operation.get("parameters", [])
        if parameter["required"]
    ]
    assert len(named) > 1
    assert [each for each in named if not each[2]] == []


def test_a_forms_texts_have_examples(api):
    schemas = api.get("/openapi.json").json()["components"]["schemas"]
    fields = [
        (name, field, "examples" in described)
        for name, schema in schemas.items()
        if name.startswith("Body_")
        for field, described in schema["properties"].items()
        if field != "file"
    ]
    assert len(fields) >= 3
    assert [each for each in fields if not each[2]] == []


DESCRIBED = {
    "sts": {"parameters": {"task": {"string_value": "sts"}, "threshold": {"string_value": "0.5"}}},
    "sts_ko": {"parameters": {"task": {"string_value": "sts"}, "languages": {"string_value": "ko"}}},
    "sts_ko_embedding": {"output": [{"name": "EMBEDDING", "dims": [384]}]},
    "qa": {"parameters": {"task": {"string_value": "qa"}}},
}


def described_api(transport: AsyncFakeTransport, **settings: object) -> TestClient:
    return TestClient(create_app(ApiSettings(**settings), lambda settings: AsyncTridentClient(transport=transport)))


@pytest.fixture
def described(answer_by_length: Callable[[Request], Response]) -> AsyncFakeTransport:
    return AsyncFakeTransport(answer_by_length, configurations=DESCRIBED)


def test_models_are_listed_with_what_is_known_of_them(described):
    with described_api(described) as api:
        models = api.get("/models").json()["models"]
    nothing = {"languages": [], "dimension": None, "dimensions": [], "threshold": None, "metrics": {}}
    nothing |= {"prompts": {}, "default_prompt_name": "", "labels": [], "export": {}}
    nothing |= {"max_tokens": None, "vocabulary": None}
    assert models == [
        {"name": "qa", "task": "qa"} | nothing,
        {"name": "sts", "task": "sts"} | nothing | {"threshold": 0.5},
        {"name": "sts_ko", "task": "sts"} | nothing | {"languages": ["ko"], "dimension": 384, "threshold": 0.6},
    ]


@pytest.mark.parametrize(
    ("settings", "thresholds"), [({}, [0.5, None, 0.5, 0.6]), ({"similarity_threshold": 0.7}, [0.5, None, 0.7, 0.7])]
)
def test_models_are_listed_with_the_threshold_that_decides(answer_by_length, settings, thresholds):
    cola = {"cola": {"parameters": {"task": {"string_value": "cola"}}}}
    with described_api(AsyncFakeTransport(answer_by_length, configurations=DESCRIBED | cola), **settings) as api:
        models = api.get("/models").json()["models"]
    assert [each["name"] for each in models] == ["cola", "qa", "sts", "sts_ko"]
    assert [each["threshold"] for each in models] == thresholds


@pytest.mark.parametrize("path", ["/generate", "/pred/sentences"])
def test_each_model_has_its_own_threshold(described, path):
    pair = {"sentence_1": "x" * 55, "sentence_2": "y"}
    with described_api(described) as api:
        assert api.post(path, json=pair).json()["pred"] == 1
        # Nobody said one for it: 3 of 5.
        assert api.post(path, json=pair | {"model": "sts_ko"}).json()["pred"] == 0
    assert [request.model for request in described.requests] == ["sts", "sts_ko"]
    with described_api(described, similarity_threshold=0.56) as api:
        assert api.post(path, json=pair).json()["pred"] == 0


@pytest.mark.parametrize(
    ("body", "model"),
    [
        ({"sentence_1": "a", "sentence_2": "b"}, "sts_fi"),
        # Served, and for another task.
        ({"sentence_1": "a", "sentence_2": "b"}, "qa"),
        ({"sentence_1": "a", "sentence_2": "b"}, ""),
    ],
)
def test_a_model_that_is_not_served_for_the_task_is_refused_with_those_that_are(described, body, model):
    with described_api(described) as api:
        answer = api.post("/generate", json=body | {"model": model})
    assert answer.status_code == 422
    assert answer.json()["detail"] == f"model '{model}' is not served for sts; accepted are sts, sts_ko"
    assert described.requests == []


def test_a_model_that_comes_later_is_found(described, monkeypatch):
    pair = {"sentence_1": "a", "sentence_2": "b", "model": "sts_new"}
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr("trident_api.catalogue.time.monotonic", lambda: next(clock))
    with described_api(described) as api:
        assert api.post("/generate", json=pair).status_code == 422
        described.configurations["sts_new"] = DESCRIBED["sts"]
        assert api.post("/generate", json=pair).status_code == 200


def test_unknown_models_do_not_make_triton_busy(described, monkeypatch):
    asked = []
    monkeypatch.setattr("trident_api.catalogue.time.monotonic", lambda: 100.0)

    async def configuration(name):
        asked.append(name)
        return DESCRIBED[name]

    monkeypatch.setattr(described, "configuration", configuration)
    with described_api(described) as api:
        for _ in range(5):
            api.post("/generate", json={"sentence_1": "a", "sentence_2": "b", "model": "none"})
    assert len(asked) == len(DESCRIBED)


async def test_requests_that_come_together_ask_triton_once(described, monkeypatch):
    asked = []

    async def index():
        asked.append(1)
        await asyncio.sleep(0.01)
        return list(DESCRIBED)

    monkeypatch.setattr(described, "index", index)
    catalogue = Catalogue(AsyncTridentClient(transport=described))
    found = await asyncio.gather(*(catalogue.find("sts", "sts") for _ in range(20)))
    assert [model.threshold for model in found] == [0.5] * 20
    assert len(asked) == 1


async def test_requests_that_come_together_share_the_failure_too(described, monkeypatch):
    asked = []

    async def index():
        asked.append(1)
        await asyncio.sleep(0.05)
        raise TransportError("away")

    monkeypatch.setattr(described, "index", index)
    catalogue = Catalogue(AsyncTridentClient(transport=described, retry=Retry(attempts=1)))
    # One that gives up ends the question for nobody else.
    impatient = asyncio.create_task(catalogue.find("sts", "sts"))
    waiting = [asyncio.create_task(catalogue.find("sts", "sts")) for _ in range(20)]
    await asyncio.sleep(0.01)
    impatient.cancel()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(each) for each in found} == {TransportError}
    assert len(asked) == 1
    with pytest.raises(TransportError):
        await catalogue.find("sts", "sts")
    assert len(asked) == 2, "later ones ask anew"


def test_the_client_is_told_that_it_was_given_the_facades_port(api):
    for answer in (api.get("/v2/health/ready"), api.get("/v2/models/stats"), api.post("/v2/models/cola/infer")):
        with pytest.raises(UsageError, match="port of Trident's facade"):
            _http.is_ready(answer)
