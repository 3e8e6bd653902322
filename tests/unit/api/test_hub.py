"""Hugging Face's task forms: as huggingface_hub sends them, text-embeddings-inference answers, and rerankers ask."""

from importlib import metadata

import numpy as np
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.inference._providers import get_provider_helper
from trident_client import OverloadedError, ServerError, TransportError

QUESTION = {"question": "Which?", "context": "0123"}
TEXTS = ["a b c", "고양이 🐟", "x" * 20]


def cosines(first, others):
    """Return what the stand-in's embeddings give: their first component is a length, seven more are 1."""
    vectors = [np.array([len(each.encode()), *[1] * 7]) for each in (first, *others)]
    first, *others = (each / np.linalg.norm(each) for each in vectors)
    return pytest.approx([first @ each for each in others])


class HubClient(InferenceClient):
    """The package's own client; what it would send goes to the application that is tested."""

    def __init__(self, api, path):
        super().__init__(f"http://testserver{path}", token="x")
        self.api = api

    def _inner_post(self, request_parameters, *, stream=False):
        answer = self.api.post(request_parameters.url, json=request_parameters.json)
        assert answer.status_code == 200, answer.text
        return answer.content


@pytest.mark.parametrize("path", ["/embed", "/", "/embed/"])
def test_the_hubs_client_embeds(api, path):
    client = HubClient(api, path)
    assert client.feature_extraction("a b").shape == (1, 8)
    found = client.feature_extraction(TEXTS, truncate=True, normalize=True)
    assert found.shape == (3, 8)
    own = api.post("/embed", json={"sentences": TEXTS}).json()["embeddings"]
    assert np.array_equal(found, np.float32(own))


@pytest.mark.parametrize("path", ["/similarity", "/"])
def test_the_hubs_client_compares(api, path):
    assert HubClient(api, path).sentence_similarity("a", other_sentences=TEXTS) == cosines("a", TEXTS)


@pytest.mark.parametrize("path", ["/qa", "/"])
def test_the_hubs_client_asks_questions(api, path):
    client = HubClient(api, path)
    found = client.question_answering(**QUESTION)
    assert (found.answer, found.score, found.start, found.end) == ("0", pytest.approx(0.3), 0, 1)
    several = client.question_answering(**QUESTION, top_k=2, max_answer_len=10, doc_stride=64)
    assert [(each.answer, each.score) for each in several] == [("0", pytest.approx(0.1)), ("1", pytest.approx(0.05))]


def test_the_hubs_client_classifies(api):
    found = HubClient(api, "/predict").text_classification("x" * 25)
    assert [(each.label, each.score) for each in found] == [
        ("unacceptable", pytest.approx(0.75)),
        ("acceptable", pytest.approx(0.25)),
    ]


def test_its_parameters_are_those_that_are_recorded_here():
    # What test requests below are made of, should the package change.
    sent = get_provider_helper("hf-inference", task="text-classification", model="http://x").prepare_request(
        inputs="a", parameters={"top_k": None}, headers={}, model="http://x", api_key="x"
    )
    assert sent.json == {"inputs": "a", "parameters": {}}


def test_labels_have_teis_shapes_for_teis_requests(api):
    assert [each["label"] for each in api.post("/predict", json={"inputs": "x" * 75}).json()] == [
        "acceptable", "unacceptable"
    ]  # fmt: skip
    several = api.post("/predict", json={"inputs": ["x" * 75, "x"]}).json()
    assert [each[0]["label"] for each in several] == ["acceptable", "unacceptable"]


def test_texts_are_put_in_order_as_tei_does(api, transport):
    texts = ["x" * 20, "a b", "x" * 3, "a b"]
    expected = cosines("a b", texts).expected
    found = api.post("/rerank", json={"query": "a b", "texts": texts, "return_text": True, "raw_scores": False}).json()
    assert [each["index"] for each in found] == [1, 2, 3, 0], "the best first, equal ones as they came"
    assert [each["score"] for each in found] == pytest.approx([expected[each["index"]] for each in found])
    assert [each["text"] for each in found] == [texts[each["index"]] for each in found]
    # Encoded once, whatever the number of texts.
    assert [len(each.inputs["TEXT"]) for each in transport.requests] == [5]
    assert set(api.post("/rerank", json={"query": "a", "texts": texts}).json()[0]) == {"index", "score"}
    assert len(api.post("/rerank", json={"query": "a", "texts": texts, "top_n": 2}).json()) == 2


PAIR = {"sentence_1": "x" * 600, "sentence_2": "b"}
PROMPTS = {"prompts": {"string_value": '{"query": "query: ", "document": "passage: "}'}}


@pytest.mark.parametrize(
    ("path", "body", "sent"),
    [
        ("/embed", {"inputs": ["a", "b"], "prompt_name": "document"}, ["passage: a", "passage: b"]),
        ("/embed", {"sentences": ["a"], "prompt_name": "query"}, ["query: a"]),
        ("/embed", {"inputs": "a"}, ["a"]),
        ("/similarity", {"inputs": {"source_sentence": "a", "sentences": ["b"]}, "prompt_name": "query"},
         ["query: a", "query: b"]),
        ("/rerank", {"query": "a", "texts": ["b", "c"]}, ["query: a", "passage: b", "passage: c"]),
        ("/v2/rerank", {"query": "a", "documents": ["b"]}, ["query: a", "passage: b"]),
        ("/v1/embeddings", {"input": ["a"], "input_type": "search_document"}, ["passage: a"]),
        ("/v1/embeddings", {"input": "a", "input_type": "query"}, ["query: a"]),
        ("/v1/embeddings", {"input": "a", "prompt_name": "document"}, ["passage: a"]),
        ("/embed", {"inputs": ["a"], "input_type": "document"}, ["passage: a"]),
        ("/embed", {"sentences": ["a"], "input_type": "search_query"}, ["query: a"]),
        ("/", {"inputs": "a", "input_type": "passage"}, ["passage: a"]),
        ("/similarity", {"inputs": {"source_sentence": "a", "sentences": ["b"]}, "input_type": "query"},
         ["query: a", "query: b"]),
        ("/similarity", {"inputs": {"source_sentence": "a", "sentences": ["b"]},
         "parameters": {"prompt_name": "query"}}, ["query: a", "query: b"]),
        # A set without prompts takes all texts alike.
        ("/v1/embeddings", {"input": "a", "input_type": "query", "model": "sts"}, ["a"]),
        ("/rerank", {"query": "a", "texts": ["b"], "model": "sts"}, ["a", "b"]),
    ],
)  # fmt: skip
def test_prompts_of_a_set_stand_in_front_of_texts(api, transport, path, body, sent):
    transport.configurations["sts_ko_tokenizer"] = {"parameters": PROMPTS}
    answer = api.post(path, json={"model": "sts_ko"} | body)
    assert answer.status_code == 200, answer.text
    assert [text.decode() for text in transport.requests[-1].inputs["TEXT"][:, 0]] == sent
    described = {each["name"]: each for each in api.get("/models").json()["models"]}
    assert described["sts_ko"]["prompts"] == {"query": "query: ", "document": "passage: "}
    assert described["sts"]["prompts"] == {}


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
def test_documents_are_put_in_order_as_cohere_and_jina_do(api, path):
    body = {"model": "sts_ko", "query": "a b", "documents": ["x" * 20, {"text": "a b"}, "x"]}
    answer = api.post(path, json=body | {"top_n": 2, "return_documents": True}).json()
    assert [(each["index"], each["document"]) for each in answer["results"]] == [
        (1, {"text": "a b"}),
        (2, {"text": "x"}),
    ]
    assert answer["results"][0]["relevance_score"] == pytest.approx(1)
    assert (answer["model"], answer["usage"]) == ("sts_ko", {"total_tokens": 4 + 3 + 4 + 3})
    assert [set(each) for each in api.post(path, json=body).json()["results"]] == [{"index", "relevance_score"}] * 3


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/embed", {"inputs": ["short", "x" * 600]}),
        ("/similarity", {"inputs": {"source_sentence": "a", "sentences": ["short", "x" * 600]}}),
        ("/predict", {"inputs": ["short", "x" * 600]}),
        ("/rerank", {"query": "a", "texts": ["short", "x" * 600]}),
    ],
)
def test_a_text_that_is_too_long_is_cut_and_told_or_refused(api, path, body):
    assert api.post(path, json=body).headers["x-truncated-items"] == "1"
    answer = api.post(path, json=body | {"truncate": False})
    assert (answer.status_code, "`truncate` is false: 1, from 0 on" in answer.json()["detail"]) == (413, True)


def test_the_query_that_is_too_long_is_named(api):
    answer = api.post("/rerank", json={"query": "x" * 600, "texts": ["a"], "truncate": False})
    assert (answer.status_code, "`truncate` is false: the query" in answer.json()["detail"]) == (413, True)


@pytest.mark.parametrize("direction", ["left", "Left"])
def test_a_text_loses_its_beginning_where_that_is_asked_for(api, transport, direction):
    asked = {"truncation_direction": direction}
    left = api.post("/embed", json={"inputs": TEXTS} | asked).json()
    assert [row[0] for row in left] == [0, 0, 0]
    assert transport.requests[-1].inputs["TRUNCATE_LEFT"].tolist() == [[1]] * 3
    assert api.post("/rerank", json={"query": "a", "texts": TEXTS} | asked).status_code == 200
    assert len(transport.requests[-1].inputs["TRUNCATE_LEFT"]) == 4
    right = api.post("/embed", json={"inputs": TEXTS, "truncation_direction": "Right"}).json()
    assert "TRUNCATE_LEFT" not in transport.requests[-1].inputs
    assert all(row[0] > 0 for row in right)


@pytest.mark.parametrize(
    ("path", "body", "column", "sent"),
    [
        ("/embed", {"sentences": ["a", "x" * 600]}, "TEXT", ["query: a", "query: " + "x" * 600]),
        ("/similarity", {"pairs": [PAIR]}, "SENTENCE_2", ["query: b"]),
        ("/pred/sentences", PAIR, "SENTENCE_1", ["query: " + "x" * 600]),
    ],
)
def test_trident_s_own_forms_have_the_options_too(api, transport, path, body, column, sent):
    transport.configurations["sts_ko_tokenizer"] = {"parameters": PROMPTS}
    body = {"model": "sts_ko"} | body
    asked = api.post(path, json=body | {"truncate": "left", "prompt_name": "query"})
    assert asked.status_code == 200, asked.text
    inputs = transport.requests[-1].inputs
    assert [text.decode() for text in inputs[column][:, 0]] == sent
    assert inputs["TRUNCATE_LEFT"].tolist() == [[1]] * len(sent)
    refused = api.post(path, json=body | {"truncate": "error"})
    assert (refused.status_code, "`truncate` is 'error'" in refused.json()["detail"]) == (413, True)
    assert "TRUNCATE_LEFT" not in transport.requests[-1].inputs
    unknown = api.post(path, json=body | {"truncate": "middle"})
    assert (unknown.status_code, "'right', 'left' or 'error'" in unknown.text) == (422, True)


def test_vectors_are_the_models_own_whether_more_is_asked_for_or_not(api):
    # Haystack's components say false where nobody said anything.
    answers = [api.post("/embed", json={"inputs": TEXTS, "normalize": each}) for each in (None, True, False)]
    assert [each.status_code for each in answers] == [200] * 3
    assert answers[0].json() == answers[1].json() == answers[2].json()


CLS, SEP = (
    {"id": token_id, "text": text, "special": True, "start": None, "stop": None}
    for token_id, text in ((101, "[CLS]"), (102, "[SEP]"))
)


def word(text, start):
    return {"id": len(text), "text": text, "special": False, "start": start, "stop": start + len(text)}


def test_texts_are_parted_into_tokens_as_tei_does(api, transport):
    text = "고양이  🐟 ab"
    words = [word("고양이", 0), word("🐟", 5), word("ab", 7)]
    assert api.post("/tokenize", json={"inputs": text}).json() == [[CLS, *words, SEP]]
    assert [(each.model, each.outputs) for each in transport.requests] == [("sts_tokenizer", ("TOKENS",))]
    bare = {"inputs": ["a", text], "add_special_tokens": False, "prompt_name": None, "model": "cola"}
    assert api.post("/tokenize", json=bare).json() == [[word("a", 0)], words]
    assert transport.requests[-1].model == "cola_tokenizer"
    many = api.post("/tokenize", json={"inputs": [f"t{place}" for place in range(130)]}).json()
    assert [tokens[1]["text"] for tokens in many] == [f"t{place}" for place in range(130)]
    assert [len(each.inputs["TEXT"]) for each in transport.requests[-3:]] == [64, 64, 2]
    refused = api.post("/tokenize", json={"inputs": "a", "model": "qa"})
    assert (refused.status_code, "accepted are cola, sts" in refused.json()["detail"]) == (422, True)


def test_a_prompt_s_tokens_stand_at_no_character_of_the_text(api, transport):
    transport.configurations["sts_ko_tokenizer"] = {"parameters": PROMPTS}
    asked = {"inputs": "a b", "model": "sts_ko", "prompt_name": "query"}
    prompt = {"id": 6, "text": "_query:", "special": False, "start": None, "stop": None}
    assert api.post("/tokenize", json=asked).json() == [[CLS, prompt, word("a", 0), word("b", 2), SEP]]


def test_ids_are_turned_into_text_as_tei_does(api, transport):
    ids = [[101, 7, 102], [101, 8, 9, 102]]
    assert api.post("/decode", json={"ids": ids}).json() == ["7", "8 9"]
    assert transport.requests[-1].inputs["IDS"].tolist() == [[101, 7, 102, -1], [101, 8, 9, 102]]
    assert api.post("/decode", json={"ids": ids[0], "skip_special_tokens": False}).json() == ["101 7 102"]
    many = {"ids": [[each] for each in range(70)], "model": "cola"}
    assert api.post("/decode", json=many).json() == [str(each) for each in range(70)]
    assert [(each.model, len(each.inputs["IDS"])) for each in transport.requests[-2:]] == [
        ("cola_tokenizer", 64),
        ("cola_tokenizer", 6),
    ]


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ([[5], [1000]], "holds the token id 1000; the vocabulary has 0 to 999"),
        ([[5], [-1]], "holds the token id -1"),
        ([[5] * 10_001], "has 10001 token ids; 1 to 10000 are accepted"),
        ([[5], []], "at least 1 item"),
        ([], "at least 1 item"),
        (["a"], "valid integer"),
        ([[5]] * 2049, "at most 2048"),
        ("a", "valid list"),
    ],
)
def test_ids_that_are_none_are_refused_by_their_place(api, ids, said):
    answer = api.post("/decode", json={"ids": ids})
    assert (answer.status_code, said in answer.text) == (422, True), answer.text


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("path", ["/embed_all", "/embed_sparse"])
def test_teis_paths_that_are_not_served_say_what_is(api, transport, method, path):
    answer = api.request(method, path, json={"inputs": "a"})
    assert (answer.status_code, answer.headers.get("allow")) == ((404, None) if method == "POST" else (405, "POST"))
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert "; /embed gives " in told["detail"]
    assert (told["error"], told["error_type"]) == (told["detail"], "Validation")
    assert transport.requests == []
    described = api.get("/openapi.json").json()["paths"][path]["post"]
    assert described["description"] == told["detail"]
    example = described["responses"]["404"]["content"]["application/problem+json"]["example"]
    assert (example == told) == (method == "POST")
    assert "200" not in described["responses"]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/embed", {"inputs": ""}, "inputs"),
        ("/embed", {"inputs": []}, "inputs"),
        ("/embed", {"inputs": ["a", ""]}, "inputs.1"),
        ("/embed", {"inputs": [1, 2]}, "inputs.0"),
        ("/embed", {"inputs": "a", "normalize": "no"}, "normalize"),
        ("/embed", {"inputs": "a", "prompt_name": "query"}, "prompt_name"),
        ("/predict", {"inputs": "a", "prompt_name": "query"}, "prompt_name"),
        ("/rerank", {"query": "a", "texts": ["b"], "prompt_name": "query"}, "prompt_name"),
        ("/embed", {"inputs": "a", "truncation_direction": "middle"}, "truncation_direction"),
        ("/tokenize", {"inputs": []}, "inputs"),
        ("/tokenize", {"inputs": "a", "prompt_name": "query"}, "prompt_name"),
        ("/similarity", {"inputs": {"source_sentence": "a", "sentences": []}}, "inputs.sentences"),
        ("/similarity", {"inputs": "a"}, "inputs"),
        ("/qa", {"inputs": {"question": "a"}}, "inputs.context"),
        ("/qa", {"inputs": QUESTION, "parameters": {"top_k": 0}}, "parameters.top_k"),
        ("/predict", {"inputs": [["a", "b"]]}, "inputs.0"),
        ("/rerank", {"query": "a", "texts": []}, "texts"),
        ("/v2/rerank", {"query": "a", "documents": ["a", {"txt": "b"}]}, "documents.1.text"),
        ("/", {"inputs": {}}, "inputs"),
        ("/", {"sentences": ["a"]}, "inputs"),
    ],
)
def test_what_is_not_served_is_refused_by_its_name(api, transport, path, body, field):
    answer = api.post(path, json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
    assert transport.requests == []


def test_info_has_all_that_teis_document_requires(api, transport):
    told = {
        "model_id": "sts",
        "model_dtype": "unknown",
        "model_type": {"embedding": {"pooling": "unknown"}},
        "max_concurrent_requests": 64,
        "max_input_length": 12,
        "max_batch_tokens": 64 * 12,
        "max_batch_requests": 64,
        "max_client_batch_size": 4096,
        "auto_truncate": True,
        "tokenization_workers": 1,
        "version": metadata.version("trident-nlp"),
    }
    assert api.get("/info").json() == told
    export = {"task": {"string_value": "sts"}, "export": {"string_value": '{"dtype": "int8"}'}}
    transport.configurations["sts"] = {"parameters": export}
    api.get("/models")
    assert api.get("/info").json() == told | {"model_dtype": "int8"}


@pytest.mark.parametrize(
    ("path", "error", "status", "kind"),
    [
        ("/embed", None, 422, "Validation"),
        ("/rerank", OverloadedError("full"), 429, "Overloaded"),
        ("/", TransportError("away"), 503, "Unhealthy"),
        ("/predict", ServerError("broken"), 502, "Backend"),
        ("/embed_all", None, 404, "Validation"),
    ],
)
def test_an_error_has_teis_members_beside_its_own(api, transport, path, error, status, kind):
    def fail(request):
        raise error

    transport._answer = fail
    body = {"query": "a", "texts": ["b"]} if path == "/rerank" else {"inputs": "a" if error else ""}
    answer = api.post(path, json=body)
    told = answer.json()
    assert (answer.status_code, told["status"], told["error"], told["error_type"]) == (
        status, status, told["detail"], kind
    )  # fmt: skip
    assert ("retry-after" in answer.headers) == (status in {429, 503})
    assert answer.headers["content-type"] == "application/problem+json"
    # Where nobody of them asks, there are no further members.
    assert not {"error", "error_type"} & api.post("/generate", json={}).json().keys()


def test_a_server_s_address_is_asked_with_a_key_too(make_api, keys_file):
    api = make_api(api_keys_file=keys_file)
    assert api.get("/").status_code == 200
    assert api.post("/", json={"inputs": "a"}).status_code == 401
    assert api.post("/", json={"inputs": "a"}, headers={"authorization": "Bearer first-key"}).status_code == 200
