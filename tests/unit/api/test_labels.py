"""Classifiers and cross-encoders by the paths of text-embeddings-inference (TEI), the hub and rerankers."""

import json

import numpy as np
import pytest
from trident_client import AsyncFakeTransport

LABELS = ["short", "long"]
OWN = {
    name: {"parameters": {"task": {"string_value": task}, "labels": {"string_value": json.dumps(labels)}}}
    for name, task, labels in (
        ("topics", "classify", LABELS), ("classify", "classify", LABELS), ("rerank", "rerank", []),
        ("cross", "rerank", []),
    )
}  # fmt: skip


@pytest.fixture
def served():
    """What is served beside the sets of the project."""
    return ["topics", "cross"]


@pytest.fixture
def transport(answer_by_length, configurations, served):
    def answer(request):
        if "SCORES" not in request.outputs:
            return answer_by_length(request)
        first = request.inputs["TEXT"][:, 0]
        second = request.inputs["TEXT_2"][:, 0] if "TEXT_2" in request.inputs else [b""] * len(first)
        scores = np.float32([[len(one) / 100, len(other) / 100] for one, other in zip(first, second, strict=True)])
        if request.model in {"rerank", "cross"}:
            scores = scores[:, 1:]
        cut = np.int32([[len(each) > 500] for each in second])
        counts = {"TRUNCATED_TOKENS": cut, "UNKNOWN_TOKENS": 0 * cut, "TOKEN_COUNT": 0 * cut + 7}
        return {"SCORES": scores, "LOGITS": 10 * scores, **counts}

    return AsyncFakeTransport(answer, configurations=configurations | {name: OWN[name] for name in served})


def labels(*scores):
    return [{"label": label, "score": pytest.approx(score)} for label, score in scores]


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ("x" * 30, labels(("short", 0.3), ("long", 0))),
        (["x" * 30], labels(("short", 0.3), ("long", 0))),
        # As TEI has it: a list of two texts is a pair.
        (["x", "y" * 20], labels(("long", 0.2), ("short", 0.01))),
        ([["x"], ["x", "y" * 20]], [labels(("short", 0.01), ("long", 0)), labels(("long", 0.2), ("short", 0.01))]),
        ([["x" * 30]], [labels(("short", 0.3), ("long", 0))]),
    ],
)
def test_a_classifier_answers_in_teis_shapes(api, inputs, expected):
    assert api.post("/predict", json={"inputs": inputs, "model": "topics"}).json() == expected


def test_raw_scores_and_what_the_hubs_clients_say(api):
    asked = {"inputs": "x" * 30, "model": "topics"}
    assert api.post("/predict", json=asked | {"raw_scores": True}).json() == labels(("short", 3.0), ("long", 0))
    hub = asked | {"parameters": {"top_k": 1, "function_to_apply": None}}
    assert api.post("/predict", json=hub).json() == [labels(("short", 0.3))]


@pytest.mark.parametrize(("served", "best"), [(["classify"], "short"), (["topics"], "unacceptable")])
def test_the_set_of_the_tasks_name_answers_where_none_is_named_and_cola_where_there_is_no_such_set(api, served, best):
    assert api.post("/predict", json={"inputs": "x" * 30}).json()[0]["label"] == best
    assert api.post("/predict", json={"inputs": "x" * 30, "model": "cola"}).json()[0]["label"] == "unacceptable"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"inputs": ["a", "b", "c"], "model": "topics"}, "a list of texts is one item of one or two"),
        ({"inputs": [["a", "b"]], "model": "cola"}, "inputs.0: the model takes one text, no pair"),
        ({"inputs": "a", "model": "cola", "raw_scores": True}, "cola gives probabilities alone"),
        ({"inputs": [["a", "b", "c"]], "model": "topics"}, "at most 2 items"),
        ({"inputs": "a", "model": "classify"}, "`trident-train finetune classify` and `export classify` make one"),
        ({"inputs": "a", "model": "sts"}, "model 'sts' is not served for classify or cola; accepted are cola, topics"),
    ],
)
def test_what_is_not_taken_is_refused_with_what_is(api, body, told):
    answer = api.post("/predict", json=body)
    assert answer.status_code == 422
    assert told in answer.text


@pytest.mark.parametrize(("served", "model"), [(["rerank"], None), (["cross"], "cross")])
def test_a_cross_encoder_reranks(api, transport, served, model):
    asked = {"query": "q", "model": model}
    texts = ["y" * 5, "y" * 20]
    expected = [(1, pytest.approx(0.2)), (0, pytest.approx(0.05))]
    ranked = api.post("/rerank", json=asked | {"texts": texts}).json()
    assert [(each["index"], each["score"]) for each in ranked] == expected
    # All of them in one request, with the query.
    assert [each.inputs["TEXT"][:, 0].tolist() for each in transport.requests] == [[b"q", b"q"]]
    raw = api.post("/rerank", json=asked | {"texts": texts, "raw_scores": True, "return_text": True}).json()
    assert raw[0] == {"index": 1, "score": pytest.approx(2.0), "text": texts[1]}
    for path in ("/v1/rerank", "/v2/rerank"):
        answer = api.post(path, json=asked | {"documents": texts, "top_n": 1}).json()
        assert answer["model"] == (model or "rerank")
        assert answer["usage"] == {"total_tokens": 14}
        assert answer["results"] == [{"index": 1, "relevance_score": pytest.approx(0.2)}]
    cut = api.post("/rerank", json=asked | {"texts": ["y" * 501], "truncate": False})
    assert cut.status_code == 413


def test_without_a_cross_encoder_embeddings_are_compared(api):
    assert api.post("/rerank", json={"query": "q", "texts": ["a"]}).json()[0]["score"] == pytest.approx(1)
    unknown = api.post("/v1/rerank", json={"query": "q", "documents": ["a"], "model": "none"})
    assert unknown.status_code == 404
    assert "accepted are cross, sts, sts_ko; `trident-train finetune rerank`" in unknown.json()["error"]["message"]


def test_a_classifier_by_its_tasks_name_gives_numbers_and_takes_a_second_text_or_none(api):
    items = ["x", {"text": "x", "text_pair": "yy"}]
    answer = api.post("/predict/classify", json={"items": items, "model": "topics"})
    assert [each["scores"] for each in answer.json()["results"]] == [
        pytest.approx([0.01, 0]),
        pytest.approx([0.01, 0.02]),
    ]
