"""A refusal names its field as the request's body has it, whoever refused: the facade, its client, or Triton."""

import json

import pytest
from fastapi.testclient import TestClient
from trident_api.app import create_app
from trident_api.settings import ApiSettings
from trident_client import AsyncFakeTransport, AsyncTridentClient, BadInputError, contract

#: What Triton's tokenizers find nothing in.
UNREAD = "\u2603"
PAIR = {"sentence_1": "a", "sentence_2": UNREAD}
QUESTION = {"question": "a", "context": UNREAD}
LONG = "x" * (contract.MAX_QUESTION_BYTES + 1)


@pytest.fixture
def api(answer_by_length, configurations):
    def answer(request):
        texts = [text for column in request.inputs.values() if column.dtype == object for text in column.ravel()]
        if UNREAD.encode() in texts:
            raise BadInputError("TEXT 0 has nothing that the vocabulary can read", request.model, server="a:1")
        return answer_by_length(request)

    told = {"rerank": {"parameters": {"task": {"string_value": "rerank"}}}}
    told |= {"classify": {"parameters": {"task": {"string_value": "classify"}, "labels": {"string_value": '["a"]'}}}}
    transport = AsyncFakeTransport(answer, configurations=configurations | told)
    app = create_app(ApiSettings(), lambda settings: AsyncTridentClient(transport=transport))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/generate", {"passage": UNREAD}, "passage"),
        ("/generate", PAIR, "body"),
        ("/generate", QUESTION, "body"),
        ("/pred/sentences", PAIR, "body"),
        ("/acceptability", {"sentences": ["a", UNREAD]}, "sentences.1"),
        ("/similarity", {"pairs": [PAIR]}, "pairs.0"),
        ("/similarity", {"inputs": {"source_sentence": UNREAD, "sentences": ["a"]}}, "inputs.source_sentence"),
        ("/similarity", {"inputs": {"source_sentence": "a", "sentences": ["a", UNREAD]}}, "inputs.sentences.1"),
        ("/embed", {"sentences": ["a"] * 70 + [UNREAD]}, "sentences.70"),
        ("/embed", {"inputs": UNREAD}, "inputs"),
        ("/embed", {"inputs": ["a", UNREAD]}, "inputs.1"),
        ("/qa", QUESTION, "body"),
        ("/qa", {"questions": [QUESTION | {"context": "a"}, QUESTION]}, "questions.1"),
        ("/qa", {"inputs": QUESTION}, "inputs"),
        ("/predict", {"inputs": UNREAD, "model": "cola"}, "inputs"),
        ("/predict", {"inputs": ["a", UNREAD], "model": "cola"}, "inputs.1"),
        ("/predict/cola", {"items": ["a", UNREAD]}, "items.1"),
        ("/rerank", {"query": UNREAD, "texts": ["a"], "model": "sts"}, "query"),
        ("/rerank", {"query": "a", "texts": ["a", UNREAD], "model": "sts"}, "texts.1"),
        ("/rerank", {"query": "a", "texts": [UNREAD], "model": "rerank"}, "texts.0"),
        ("/v1/rerank", {"query": "a", "documents": [{"text": UNREAD}], "model": "sts"}, "documents.0"),
        ("/v1/embeddings", {"input": UNREAD}, "input"),
        ("/v1/embeddings", {"input": ["a", UNREAD]}, "input.1"),
    ],
)
def test_what_triton_refuses_is_named_as_the_body_has_it(api, path, body, field):
    answer = api.post(path, json=body)
    assert answer.status_code == (400 if path.startswith("/v1/") else 422)
    assert [each["field"] for each in answer.json()["errors"]] == [field]


@pytest.mark.parametrize(
    ("name", "content", "field"),
    [
        ("a.json", json.dumps([{"sentence1": "a", "sentence2": UNREAD}]), "results.0"),
        ("a.jsonl", "\n" + json.dumps({"sentence1": "a", "sentence2": UNREAD}), "line 2"),
        ("a.csv", f"sentence1,sentence2\na,a\na,{UNREAD}\n", "line 3"),
    ],
)
def test_what_triton_refuses_of_a_file_is_named_by_its_place_there(api, name, content, field):
    answer = api.post("/pred/file", files={"file": (name, content.encode())})
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == [field]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/qa", QUESTION | {"question": LONG}, "question"),
        ("/generate", QUESTION | {"question": LONG}, "question"),
        ("/qa", {"questions": [QUESTION, QUESTION | {"question": LONG}]}, "questions.1.question"),
        ("/qa", {"inputs": QUESTION | {"question": LONG}}, "inputs.question"),
        ("/", {"inputs": QUESTION | {"question": LONG}}, "inputs.question"),
        ("/predict/qa", {"items": [QUESTION | {"question": LONG}]}, "items.0.question"),
        ("/predict/qa", {"items": [{"question": "a", "passage": " "}]}, "items.0.passage"),
        ("/predict/cola", {"items": ["a", " "]}, "items.1"),
        ("/predict/cola", {"items": ["a", {"passage": " "}]}, "items.1.passage"),
        ("/predict/qa", {"items": [QUESTION], "numbers": {"top_k": 0}}, "numbers.top_k"),
        ("/predict/qa", {"items": [QUESTION], "numbers": {"top_k": 101}}, "numbers.top_k"),
        ("/predict/qa", {"items": [QUESTION], "numbers": {"top": 1}}, "numbers.top"),
    ],
)
def test_what_the_contract_refuses_is_named_as_the_body_has_it(api, path, body, field):
    answer = api.post(path, json=body)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == field
    if LONG in json.dumps(body):
        assert error["detail"] == "has 10001 bytes; at most 10000 are accepted"


def test_a_question_may_be_as_long_as_the_contract_says(api):
    body = {"question": LONG[:-1], "context": "a"}
    assert api.post("/qa", json=body).status_code == 200


def test_every_question_that_is_too_long_is_named_before_it_takes_a_turn(api):
    answer = api.post("/qa", json={"questions": [{"question": LONG, "context": "a"}] * 2})
    assert [each["field"] for each in answer.json()["errors"]] == ["questions.0.question", "questions.1.question"]
    assert "x-queue-time" not in answer.headers
