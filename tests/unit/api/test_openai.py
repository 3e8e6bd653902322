"""``/v1`` as OpenAI's clients speak it."""

import base64

import numpy as np
import openai
import pytest
from trident_client import OverloadedError, ServerError, TransportError

TEXTS = ["a b c", "고양이 🐟", "x" * 20]


@pytest.fixture
def client(api):
    # The test client is one of httpx's kind, which the package takes in place of its own.
    return openai.OpenAI(base_url="http://testserver/v1", api_key="x", http_client=api, max_retries=0)


def test_the_package_reads_embeddings(client):
    answer = client.embeddings.create(model="sts", input=TEXTS)
    vectors = np.array([each.embedding for each in answer.data])
    assert vectors.shape == (3, 8)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1])
    assert [each.index for each in answer.data] == [0, 1, 2]
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 5 + 4 + 3
    assert answer.model == "sts"


def test_base64_and_numbers_are_the_same_vectors(client):
    # Without a format the package itself asks for base64.
    numbers = client.embeddings.create(model="sts", input=TEXTS, encoding_format="float")
    packed = client.embeddings.create(model="sts", input=TEXTS)
    assert np.array_equal(*(np.float32([each.embedding for each in answer.data]) for answer in (numbers, packed)))


def test_base64_is_little_endian_float32(api):
    body = {"model": "sts", "input": "a", "encoding_format": "base64"}
    text = api.post("/v1/embeddings", json=body).json()["data"][0]["embedding"]
    assert np.linalg.norm(np.frombuffer(base64.b64decode(text), "<f4")) == pytest.approx(1)


def test_small_forms_of_vectors_keep_their_direction_and_their_signs(api, transport):
    def ask(form):
        body = {"model": "sts", "input": TEXTS, "encoding_format": form}
        return np.array([each["embedding"] for each in api.post("/v1/embeddings", json=body).json()["data"]])

    numbers, whole = ask("float"), ask("int8")
    assert np.abs(whole).max(1).tolist() == [127] * 3
    cosines = (numbers * whole).sum(1) / np.linalg.norm(whole, axis=1)
    assert cosines == pytest.approx([1, 1, 1], abs=1e-3)
    vector = np.float32([[0.5, -0.5, 0, 0.1, -0.1, 0.2, 0.3, -0.4]])
    transport._answer = lambda request: {"EMBEDDING": vector.repeat(3, 0), "TOKEN_COUNT": np.ones((3, 1), np.int32)}
    assert ask("ubinary").tolist() == [[0b10010110]] * 3
    assert ask("binary").tolist() == [[0b10010110 - 128]] * 3


def test_ids_of_the_models_own_tokenizer_go_to_the_encoder_as_they_are(client, transport):
    def ask(given):
        return client.embeddings.create(model="sts", input=given, extra_body={"model_token_ids": True})

    rows = [[101, 7, 102], [101, 7, 8, 102], [0]] * 30
    answer = ask(rows)
    vectors = np.array([each.embedding for each in answer.data])
    assert (vectors[:, 0] / vectors[:, 1]).round(3).tolist() == [sum(ids) for ids in rows]
    assert answer.usage.prompt_tokens == 30 * (3 + 4 + 1)
    first, last = transport.requests[-2:]
    assert [each.model for each in (first, last)] == ["sts_encoder"] * 2
    assert (first.inputs["INPUT_IDS"].shape, last.inputs["INPUT_IDS"].dtype) == ((64, 4), np.int32)
    assert first.inputs["INPUT_IDS"][:3].tolist() == [[101, 7, 102, -1], [101, 7, 8, 102], [0, -1, -1, -1]]
    # One text's ids, as OpenAI has it.
    assert np.array_equal(ask(rows[0]).data[0].embedding, ask([rows[0]]).data[0].embedding)


@pytest.mark.parametrize(
    ("given", "says", "param"),
    [
        ([[101], [101, 1000]], r"the token id 1000; the vocabulary has 0 to 999 \(sts\)", "input.1"),
        ([101, -1], "the token id -1; the vocabulary has 0 to 999", "input"),
        ([[1] * 13], "has 13 token ids; 1 to 12 are accepted", "input.0"),
        ([[1], []], "at least 1 item", "input.1"),
        ([], "at least 1 item", "input"),
        ([["a"] * 4] * 4, "valid integer", "input.0.0"),
        ("text", "valid list", "input"),
        ([[1], "text"], "valid list", "input.1"),
        ([[1]] * 2049, "at most 2048 items", "input"),
    ],
)
def test_ids_that_are_none_of_the_models_are_refused_with_its_range(client, given, says, param):
    with pytest.raises(openai.BadRequestError, match=says) as caught:
        client.embeddings.create(model="sts", input=given, extra_body={"model_token_ids": True})
    assert (caught.value.type, caught.value.param) == (INVALID, param)


def test_ids_take_no_prompt_and_need_a_set_that_tells_its_vocabulary(client):
    def ask(model, **further):
        return client.embeddings.create(model=model, input=[[1]], extra_body={"model_token_ids": True, **further})

    for field in ({"prompt_name": "query"}, {"input_type": "query"}):
        with pytest.raises(openai.BadRequestError, match="should be None"):
            ask("sts", **field)
    with pytest.raises(openai.BadRequestError, match="sts_ko does not say which it has; a set that is exported again"):
        ask("sts_ko")
    with pytest.raises(openai.NotFoundError, match="sts, sts_ko"):
        ask("nobody")


def test_one_text_is_a_list_of_one(client):
    assert len(client.embeddings.create(model="sts", input="a").data) == 1


def test_vectors_that_a_model_was_trained_for_are_the_first_components_at_unit_norm(client, transport, monkeypatch):
    sts = {"parameters": {"task": {"string_value": "sts"}, "dimensions": {"string_value": "3,5"}}}
    monkeypatch.setattr(transport, "configurations", transport.configurations | {"sts": sts})
    whole = np.array(client.embeddings.create(model="sts", input="a b").data[0].embedding)
    short = np.array(client.embeddings.create(model="sts", input="a b", dimensions=3).data[0].embedding)
    assert short == pytest.approx(whole[:3] / np.linalg.norm(whole[:3]))
    assert len(client.embeddings.create(model="sts", input="a b", dimensions=8).data[0].embedding) == 8
    with pytest.raises(openai.BadRequestError, match=r"not trained for vectors of 4 components; accepted are 3, 5, 8"):
        client.embeddings.create(model="sts", input="a", dimensions=4)


INVALID = "invalid_request_error"


@pytest.mark.parametrize(
    ("change", "says", "param"),
    [
        ({"dimensions": 3}, "not trained for vectors of 3 components; accepted are 8", "dimensions"),
        ({"dimensions": 0}, "greater than or equal to 1", "dimensions"),
        ({"input": []}, "at least 1 item", "input"),
        ({"input": ""}, "visible character", "input"),
        ({"input": ["a"] * 2049}, "at most 2048 items", "input"),
        ({"encoding_format": "hex"}, "'float', 'base64', 'int8', 'binary' or 'ubinary'", "encoding_format"),
        # As LangChain sends them unless it is told not to.
        ({"input": [[9906, 1917], [1]]}, r"check_embedding_ctx_length=False", "input"),
        ({"input": [9906, 1917]}, r"check_embedding_ctx_length=False", "input"),
        ({"input": [1], "extra_body": {"model_token_ids": False}}, "beside `model_token_ids: true`", "input"),
    ],
)
def test_what_is_not_accepted_is_a_400_with_type_and_parameter(client, change, says, param):
    with pytest.raises(openai.BadRequestError, match=says) as caught:
        client.embeddings.create(**{"model": "sts", "input": "a"} | change)
    assert (caught.value.type, caught.value.param, caught.value.code) == (INVALID, param, None)


def test_a_model_that_is_not_served_is_a_404_with_those_that_are(client):
    for ask in (lambda name: client.embeddings.create(model=name, input="a"), client.models.retrieve):
        with pytest.raises(openai.NotFoundError, match="sts, sts_ko") as caught:
            ask("text-embedding-3-small")
        assert (caught.value.type, caught.value.param, caught.value.code) == (INVALID, "model", "model_not_found")


@pytest.mark.parametrize(
    ("error", "kind", "type_", "code"),
    [
        (OverloadedError("full"), openai.RateLimitError, "rate_limit_error", "rate_limit_exceeded"),
        (TransportError("away"), openai.InternalServerError, "server_error", None),
        (ServerError("broken"), openai.InternalServerError, "server_error", None),
    ],
)
def test_failures_are_of_the_kinds_that_the_package_tells_apart(client, transport, error, kind, type_, code):
    def fail(request):
        raise error

    transport._answer = fail
    with pytest.raises(kind, match=str(error)) as caught:
        client.embeddings.create(model="sts", input="a")
    assert (caught.value.type, caught.value.code) == (type_, code)


def test_a_body_that_is_too_long_is_a_413_of_its_shape_too(make_api):
    answer = make_api(max_list_bytes=100).post("/v1/embeddings", json={"input": "x" * 100})
    assert answer.status_code == 413
    assert answer.json()["error"] == {
        "message": answer.json()["detail"], "type": INVALID, "code": "request_too_large"
    }  # fmt: skip


def test_explicit_nulls_are_absent_fields(api):
    nothing = dict.fromkeys(("model", "encoding_format", "dimensions", "user", "model_token_ids"))
    answer = api.post("/v1/embeddings", json={"input": "a"} | nothing)
    assert answer.json() == api.post("/v1/embeddings", json={"input": "a"}).json()
    assert answer.json()["model"] == "sts"


def test_a_base_url_without_v1_is_told(api):
    client = openai.OpenAI(base_url="http://testserver", api_key="x", http_client=api, max_retries=0)
    with pytest.raises(openai.NotFoundError, match="ends in /v1"):
        client.embeddings.create(model="sts", input="a")


@pytest.mark.parametrize(
    ("given", "field"), [("", "input"), (["a", ""], "input.1"), (None, "input"), ([["a"]], "input.0")]
)
def test_the_text_at_fault_is_named(api, given, field):
    answer = api.post("/v1/embeddings", json={"model": "sts", "input": given})
    (error,) = answer.json()["errors"]
    assert (answer.status_code, answer.json()["error"]["param"], error["field"]) == (400, field, field)


def test_fields_of_other_servers_are_ignored(api):
    body = {"model": "sts", "input": "a", "user": "somebody", "input_type": "query"}
    assert api.post("/v1/embeddings", json=body).status_code == 200


def test_models_are_those_that_embed(client):
    assert [each.id for each in client.models.list()] == ["sts", "sts_ko"]
    assert client.models.retrieve("sts_ko").id == "sts_ko"
    with pytest.raises(openai.NotFoundError, match="there are: sts, sts_ko"):
        client.models.retrieve("cola")


def test_the_package_sends_its_key(keys_file, transport, make_api):
    api = make_api(api_keys_file=keys_file)
    options = {"base_url": "http://testserver/v1", "http_client": api, "max_retries": 0}
    assert openai.OpenAI(api_key="first-key", **options).embeddings.create(model="sts", input="a").data
    with pytest.raises(openai.AuthenticationError, match="A key is needed") as caught:
        openai.OpenAI(api_key="wrong", **options).embeddings.create(model="sts", input="a")
    assert (caught.value.type, caught.value.code) == (INVALID, "invalid_api_key")
