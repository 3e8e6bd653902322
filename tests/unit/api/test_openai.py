"""``/v1`` as OpenAI's clients speak it."""

import base64

import numpy as np
import openai
import pytest

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


def test_one_text_is_a_list_of_one(client):
    assert len(client.embeddings.create(model="sts", input="a").data) == 1


def test_fewer_dimensions_are_the_first_ones_at_unit_norm(client):
    whole = np.array(client.embeddings.create(model="sts", input="a b").data[0].embedding)
    short = np.array(client.embeddings.create(model="sts", input="a b", dimensions=3).data[0].embedding)
    assert short == pytest.approx(whole[:3] / np.linalg.norm(whole[:3]))
    assert len(client.embeddings.create(model="sts", input="a b", dimensions=8).data[0].embedding) == 8


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"dimensions": 9}, "dimensions: must be at most 8"),
        ({"dimensions": 0}, "dimensions"),
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": [1, 2]}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"model": "text-embedding-3-small"}, "accepted are sts, sts_ko"),
    ],
)
def test_what_is_not_accepted_is_a_422_that_the_package_raises(client, change, says):
    with pytest.raises(openai.UnprocessableEntityError, match=says):
        client.embeddings.create(**{"model": "sts", "input": "a"} | change)


@pytest.mark.parametrize(
    ("given", "field"), [("", "input"), (["a", ""], "input.1"), ([1], "input.0"), (None, "input"), ([["a"]], "input.0")]
)
def test_the_text_at_fault_is_named(api, given, field):
    (error,) = api.post("/v1/embeddings", json={"model": "sts", "input": given}).json()["errors"]
    assert error["field"] == field


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
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(api_key="wrong", **options).embeddings.create(model="sts", input="a")
