"""Lists: pairs to compare, sentences to embed, questions to answer."""

import json

import pytest

PAIRS = [{"sentence_1": "x" * length, "sentence_2": "y"} for length in range(1, 131)]


def test_similarity_takes_a_list_of_pairs(api, transport):
    answer = api.post("/similarity", json={"pairs": PAIRS}).json()
    assert answer["scores"] == pytest.approx([length / 100 for length in range(1, 131)])
    assert answer["preds"] == [int(length >= 60) for length in range(1, 131)]
    assert [len(each.inputs["SENTENCE_1"]) for each in transport.requests] == [64, 64, 2]
    assert api.post("/similarity", json={"pairs": []}).json() == {"scores": [], "preds": []}


def test_embed_takes_a_list(api, transport):
    answer = api.post("/embed", json={"sentences": ["a b", "고양이 🐟", "a\x00"] * 30}).json()
    assert len(answer["embeddings"]) == 90
    assert all(sum(each * each for each in vector) == pytest.approx(1) for vector in answer["embeddings"])
    assert answer["embeddings"][0] == answer["embeddings"][3] != answer["embeddings"][1]
    assert [each.model for each in transport.requests] == ["sts_embedding"] * 2
    assert api.post("/embed", json={"sentences": []}).json() == {"embeddings": []}


def test_embed_tells_truncation(api):
    assert "x-truncated" not in api.post("/embed", json={"sentences": ["short"]}).headers
    assert api.post("/embed", json={"sentences": ["short", "x" * 600]}).headers["x-truncated"] == "true"


@pytest.mark.parametrize(
    ("path", "key"), [("/acceptability", "sentences"), ("/embed", "sentences"), ("/predict/cola", "items")]
)
@pytest.mark.parametrize(
    ("cut", "told"), [([], None), ([0], "0"), ([1, 2, 3, 70, 72, 73], "1-3,70,72-73"), (range(100), "0-99")]
)
def test_which_items_were_cut_is_told(api, path, key, cut, told):
    answer = api.post(path, json={key: ["x" * (600 if index in cut else 5) for index in range(100)]})
    assert answer.headers.get("x-truncated-items") == told
    assert answer.headers.get("x-truncated") == (told and "true")


def test_a_header_is_no_longer_than_proxies_take(api):
    answer = api.post("/acceptability", json={"sentences": ["x" * (600 if index % 2 else 5) for index in range(4096)]})
    told = answer.headers["x-truncated-items"]
    assert told.startswith("1,3,5,")
    assert told.endswith(",...")
    assert len(told) < 2010
    assert all(int(each) % 2 for each in told.split(",")[:-1])


def test_questions_are_answered_in_order(api, transport):
    questions = [{"question": f"{number}?", "context": "0123"} for number in range(5)]
    answer = api.post("/qa", json={"questions": questions, "top_k": 2}).json()
    assert [[span["answer"] for span in each] for each in answer["answers"]] == [["0", "1"]] * 5
    assert sorted(each.inputs["QUESTION"][0, 0] for each in transport.requests) == [b"0?", b"1?", b"2?", b"3?", b"4?"]
    assert api.post("/qa", json={"questions": []}).json() == {"answers": []}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/similarity", {"pairs": [PAIRS[0], {"sentence_1": "a"}]}, "pairs.1.sentence_2"),
        ("/similarity", {"pairs": [["a", "b"]]}, "pairs.0"),
        ("/similarity", {"pairs": PAIRS * 32}, "pairs"),
        ("/similarity", {}, "pairs"),
        ("/embed", {"sentences": ["a", " "]}, "sentences.1"),
        ("/embed", {"sentences": ["a", "\ud800"]}, "sentences.1"),
        ("/embed", {"sentences": "a"}, "sentences"),
        ("/qa", {"questions": [{"question": "a", "context": ""}]}, "questions.0.context"),
        ("/qa", {"questions": [{"question": "a", "context": "b"}] * 257}, "questions"),
        ("/qa", {"questions": [], "top_k": 0}, "top_k"),
        ("/qa", {}, "question"),
    ],
)
def test_the_field_at_fault_is_named(api, transport, path, body, field):
    answer = api.post(path, content=json.dumps(body))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
    assert transport.requests == []


def test_many_fields_at_fault_are_not_all_listed(api):
    answer = api.post("/acceptability", json={"sentences": [""] * 4096}).json()
    assert len(answer["errors"]) == 20
    assert answer["detail"].endswith("and 4076 more")


@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000, b'{"sentences": [' + b"1" * 5000 + b"]}", b'{"sentences": NaN}', b'{"sentences": [1e999]}'],
    ids=["deep", "long number", "NaN", "infinite"],
)
def test_json_that_cannot_be_read_is_a_422(api, content):
    answer = api.post("/acceptability", content=content)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
