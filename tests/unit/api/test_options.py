"""What requests may say beside their texts: every one takes what its models can do, and ignores nothing silently."""

import json

import numpy as np
import pytest
from trident_client import AsyncFakeTransport

LONG = "x" * 600
PAIR = {"sentence_1": LONG, "sentence_2": "b"}
PAIRS = {"pairs": [PAIR]}
QUESTION = {"question": "Which?", "context": "0123"}
SOURCE = {"source_sentence": "a", "sentences": [LONG]}
OWN = {
    name: {"parameters": {"task": {"string_value": task}, "labels": {"string_value": '["a", "b"]'}}}
    for name, task in (("topics", "classify"), ("cross", "rerank"))
}
LEFT, ERROR = {"truncate": "left"}, {"truncate": "error"}
HUB_LEFT, HUB_ERROR = {"truncation_direction": "Left"}, {"truncate": False}
NIM_LEFT, NIM_ERROR = {"truncate": "START"}, {"truncate": "NONE"}


@pytest.fixture
def transport(answer_by_length, configurations):
    def answer(request):
        if "SCORES" not in request.outputs:
            return answer_by_length(request)
        texts = request.inputs.get("TEXT_2", request.inputs["TEXT"])[:, 0]
        cut = np.int32([[len(each) > 500] for each in texts])
        scores = np.full((len(texts), 1 if request.model == "cross" else 2), 0.5, np.float32)
        counts = {"TRUNCATED_TOKENS": cut, "UNKNOWN_TOKENS": 0 * cut, "TOKEN_COUNT": 0 * cut + 7}
        return {"SCORES": scores, "LOGITS": scores, **counts}

    return AsyncFakeTransport(answer, configurations=configurations | OWN)


@pytest.mark.parametrize(
    ("path", "body", "left", "error"),
    [
        ("/generate", {"passage": LONG}, LEFT, ERROR),
        ("/generate", PAIR, LEFT, ERROR),
        ("/acceptability", {"sentences": [LONG]}, LEFT, ERROR),
        ("/similarity", PAIRS, LEFT, ERROR),
        ("/similarity", {"inputs": SOURCE}, HUB_LEFT, HUB_ERROR),
        ("/similarity", {"inputs": SOURCE}, {"parameters": HUB_LEFT}, {"parameters": HUB_ERROR}),
        ("/embed", {"sentences": [LONG]}, LEFT, ERROR),
        ("/embed", {"inputs": LONG}, HUB_LEFT, HUB_ERROR),
        ("/pred/sentences", PAIR, LEFT, ERROR),
        ("/predict/cola", {"items": [LONG]}, LEFT, ERROR),
        ("/predict/sts", {"items": [PAIR]}, LEFT, ERROR),
        ("/predict/embed", {"items": [LONG]}, LEFT, ERROR),
        ("/predict/classify", {"items": [LONG], "model": "topics"}, LEFT, ERROR),
        ("/predict", {"inputs": LONG}, HUB_LEFT, HUB_ERROR),
        ("/predict", {"inputs": LONG, "model": "topics"}, HUB_LEFT, HUB_ERROR),
        ("/rerank", {"query": "q", "texts": [LONG]}, HUB_LEFT, HUB_ERROR),
        ("/rerank", {"query": "q", "texts": [LONG], "model": "cross"}, HUB_LEFT, HUB_ERROR),
        ("/v1/embeddings", {"input": LONG}, NIM_LEFT, NIM_ERROR),
        ("/v1/embeddings", {"input": LONG}, LEFT, HUB_ERROR),
        ("/v1/rerank", {"query": "q", "documents": [LONG]}, NIM_LEFT, NIM_ERROR),
        ("/v2/rerank", {"query": "q", "documents": [LONG], "model": "cross"}, LEFT, ERROR),
    ],
)
def test_what_is_too_long_loses_the_end_that_is_said_or_is_refused(api, transport, path, body, left, error):
    plain = api.post(path, json=body)
    assert (plain.status_code, plain.headers["x-truncated"]) == (200, "true"), plain.text
    assert "TRUNCATE_LEFT" not in transport.requests[-1].inputs
    cut = api.post(path, json=body | left)
    assert (cut.status_code, cut.headers["x-truncated"]) == (200, "true"), cut.text
    assert set(transport.requests[-1].inputs["TRUNCATE_LEFT"].ravel()) == {1}
    refused = api.post(path, json=body | error)
    assert (refused.status_code, "from 0 on" in refused.json()["detail"]) == (413, True)
    # What fits is answered all the same.
    short = json.loads(json.dumps(body).replace(LONG, "short"))
    assert api.post(path, json=short | error).status_code == 200


TEXTS = ["a b", "고양이", "x" * 20]


@pytest.mark.parametrize("path", ["/embed", "/"])
def test_embeddings_come_in_the_format_and_length_that_are_asked_for(api, transport, path):
    shapes = [{"inputs": TEXTS}] if path == "/" else [{"inputs": TEXTS}, {"sentences": TEXTS}]
    sts = {"parameters": {"task": {"string_value": "sts"}, "dimensions": {"string_value": "3,5"}}}
    transport.configurations["sts"] = sts
    for asked in shapes:

        def embed(asked=asked, **options):
            answer = api.post(path, json=asked | options)
            assert answer.status_code == 200, answer.text
            return answer.json() if "inputs" in asked else answer.json()["embeddings"]

        for options in ({}, {"dimensions": 3}):
            own = {"input": TEXTS, "model": "sts"} | options
            for form in ("float", "base64", "int8", "binary", "ubinary"):
                theirs = api.post("/v1/embeddings", json=own | {"encoding_format": form}).json()["data"]
                assert embed(encoding_format=form, **options) == [each["embedding"] for each in theirs]
        assert embed(encoding_format=None) == embed() == embed(encoding_format="float")
        whole = np.array(embed(encoding_format="int8"))
        assert (whole.shape, np.abs(whole).max(axis=1).tolist()) == ((3, 8), [127] * 3)
        refused = api.post(path, json=asked | {"encoding_format": "int4"})
        assert (refused.status_code, "'int8', 'binary' or 'ubinary'" in refused.json()["detail"]) == (422, True)
        refused = api.post(path, json=asked | {"dimensions": 4})
        assert (refused.status_code, "accepted are 3, 5, 8" in refused.json()["detail"]) == (422, True)
    assert api.post("/embed", json={"sentences": [], "encoding_format": "int8"}).json() == {"embeddings": []}


@pytest.mark.parametrize("count", [3, 1100])
def test_so_do_the_pairs_of_a_file(api, transport, count):
    rows = [{"idx": place, "sentence1": LONG if place == 1 else "a", "sentence2": "b"} for place in range(count)]
    file = {"file": ("a.json", json.dumps({"results": rows}))}
    assert api.post("/pred/file", files=file, data={"truncate": "left"}).status_code == 200
    assert set(transport.requests[-1].inputs["TRUNCATE_LEFT"].ravel()) == {1}
    refused = api.post("/pred/multi", files=file, data={"truncate": "error"})
    assert (refused.status_code, refused.json()["detail"]) == (
        413, "Longer than the model takes, while `truncate` is 'error': 1, from 0 on."
    )  # fmt: skip
    rows[1]["sentence1"] = "short"
    file = {"file": ("a.json", json.dumps({"results": rows}))}
    assert api.post("/pred/file", files=file, data={"truncate": "error"}).status_code == 200
    for data, field in (({"truncate": "middle"}, "truncate"), ({"prompt_name": "query"}, "prompt_name")):
        unknown = api.post("/pred/file", files=file, data=data)
        assert (unknown.status_code, unknown.json()["errors"][0]["field"]) == (422, field)


@pytest.mark.parametrize(
    ("path", "body", "accepted"),
    [
        ("/acceptability", {"sentences": ["a"], "prompt_name": "query"}, "truncate, model"),
        ("/similarity", PAIRS | {"encoding_format": "int8"}, "truncate, prompt_name, input_type, model"),
        ("/predict/cola", {"items": ["a"], "input_type": "query"}, "truncate, numbers, model"),
        ("/qa", QUESTION | {"truncate": "left"}, "top_k, max_answer_tokens, no_answer, model"),
        ("/qa", {"questions": [QUESTION], "truncate": "left"}, "top_k, max_answer_tokens, no_answer, model"),
        ("/qa", {"inputs": QUESTION, "truncate": True}, "parameters, model"),
        ("/v2/rerank", {"query": "a", "documents": ["b"], "truncation_direction": "left"},
         "model, top_n, return_documents, truncate"),
        ("/tokenize", {"inputs": "a", "truncate": True}, "model, add_special_tokens, prompt_name"),
        ("/decode", {"ids": [1], "truncate": True}, "model, skip_special_tokens"),
    ],
)  # fmt: skip
def test_an_option_of_other_requests_is_refused_with_those_that_are_taken(api, transport, path, body, accepted):
    answer = api.post(path, json=body)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["field"] in body, error["detail"]) == (
        True, f"is no option of this request; accepted are {accepted}"
    )  # fmt: skip
    assert transport.requests == []
    # As good as absent.
    assert api.post(path, json=body | {error["field"]: None}).status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/embed", {"sentences": ["a"]}), ("/embed", {"inputs": "a"}), ("/v1/embeddings", {"input": "a"}),
        ("/similarity", {"pairs": [{"sentence_1": "a", "sentence_2": "b"}]}),
        ("/pred/sentences", {"sentence_1": "a", "sentence_2": "b"}),
        ("/generate", {"sentence_1": "a", "sentence_2": "b"}),
    ],
)  # fmt: skip
def test_what_texts_are_chooses_the_prompt_or_a_name_does(api, transport, path, body):
    prompts = {"prompts": {"string_value": '{"query": "query: ", "document": "passage: "}'}}
    transport.configurations["sts_ko_tokenizer"] = {"parameters": prompts}
    asked = body | {"model": "sts_ko", "input_type": "search_document"}
    assert api.post(path, json=asked).status_code == 200
    column = next(name for name in ("TEXT", "SENTENCE_2") if name in transport.requests[-1].inputs)
    assert transport.requests[-1].inputs[column][0, 0].startswith(b"passage: ")
    both = api.post(path, json=asked | {"prompt_name": "query"})
    assert (both.status_code, both.json()["errors"]) == (
        400 if path.startswith("/v1") else 422,
        [{"field": "input_type", "detail": "is given beside prompt_name; one of both is accepted"}],
    )
    unknown = api.post(path, json=asked | {"input_type": "clustering"})
    assert "'document', 'search_query' or 'search_document'" in unknown.json()["detail"]


def test_what_a_task_cannot_do_is_refused_by_its_name(api, transport):
    answer = api.post("/predict/qa", json={"items": [QUESTION], "numbers": {"top_k": 1}, "truncate": "left"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "truncate")
    assert "got 'left': qa cuts no beginnings" in answer.json()["detail"]
    ids = {"input": [1, 2], "model_token_ids": True}
    assert api.post("/v1/embeddings", json=ids | {"truncate": "NONE"}).status_code == 200
    assert api.post("/v1/embeddings", json=ids | {"truncate": "END"}).json()["error"]["param"] == "truncate"
    answer = api.post("/generate", json=QUESTION | {"truncate": "left"})
    assert (answer.status_code, "the others with truncate" in answer.json()["detail"]) == (422, True)
    nim = api.post("/v1/embeddings", json={"input": "a", "truncate": "end"})
    assert (nim.status_code, "'END', 'START', 'NONE'" in nim.json()["detail"]) == (400, True)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/embed", {"sentences": ["a"]}), ("/rerank", {"query": "a", "texts": ["b"]}),
        ("/v1/embeddings", {"input": "a"}), ("/pred/sentences", {"sentence_1": "a", "sentence_2": "b"}),
    ],
)  # fmt: skip
def test_an_option_in_the_query_is_not_ignored(api, transport, path, body):
    answer = api.post(f"{path}?truncate=left&other=1", json=body)
    assert (answer.status_code, answer.json()["errors"]) == (
        400 if path.startswith("/v1") else 422,
        [{"field": "truncate", "detail": "is in the query, where it is not read; the body takes it"}],
    )
    assert transport.requests == []
