"""The similarity models as Triton serves them, asked with Triton's own client."""

import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

pytestmark = pytest.mark.serving

GUITAR = "A man is playing a guitar."
MAX_TOKENS = 256


@pytest.fixture(scope="module")
def client(triton: Any) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(triton.grpc_url) as client:
        yield client


def text_input(name: str, texts: list[str | bytes]) -> InferInput:
    encoded = [[text if isinstance(text, bytes) else text.encode()] for text in texts]
    tensor = InferInput(name, [len(texts), 1], "BYTES")
    return tensor.set_data_from_numpy(np.array(encoded, dtype=np.object_))


def infer(client: InferenceServerClient, model: str, /, **inputs: list[str | bytes]) -> Any:
    return client.infer(model, [text_input(name, texts) for name, texts in inputs.items()], client_timeout=120)


def embed(client: InferenceServerClient, *texts: str | bytes) -> np.ndarray:
    return infer(client, "sts_embedding", TEXT=list(texts)).as_numpy("EMBEDDING")


def executions(client: InferenceServerClient, model: str) -> int:
    statistics = client.get_inference_statistics(model, as_json=True)
    return int(statistics["model_stats"][0].get("execution_count", 0))


def test_like_sentences_are_similar_and_unlike_ones_are_not(client: InferenceServerClient) -> None:
    others = ["Someone plays an instrument.", "The stock market fell sharply.", GUITAR]
    answer = infer(client, "sts", SENTENCE_1=[GUITAR] * 3, SENTENCE_2=others)
    similar, unrelated, same = answer.as_numpy("SIMILARITY")[:, 0]
    assert similar > 0.5
    assert unrelated < 0.2
    assert same == pytest.approx(1, abs=1e-3)
    assert answer.as_numpy("TRUNCATED_TOKENS_1").tolist() == [[0]] * 3
    assert answer.as_numpy("TRUNCATED_TOKENS_2").tolist() == [[0]] * 3


def test_requests_of_many_lengths_join_and_answer_as_if_alone(client: InferenceServerClient) -> None:
    texts = [f"{'very ' * (index % 23)}good morning number {index}" for index in range(64)]
    before = executions(client, "sts_encoder")
    with ThreadPoolExecutor(len(texts)) as pool:
        together = list(pool.map(lambda text: embed(client, text)[0], texts))
    assert executions(client, "sts_encoder") - before < 48
    for text, embedding in zip(texts, together, strict=True):
        assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-4)
        # In int8 what is at the edge of two numbers becomes either, by what a batch adds up first.
        assert float(embedding @ embed(client, text)[0]) > 0.998


def test_rows_of_one_request_answer_as_if_alone(client: InferenceServerClient) -> None:
    texts = ["cat", "The cat sat on the mat and looked at the dog.", "고양이 😀 e\u0301"]
    for text, embedding in zip(texts, embed(client, *texts), strict=True):
        assert float(embedding @ embed(client, text)[0]) > 0.998


def test_a_text_beyond_the_encoder_is_cut_and_says_so(client: InferenceServerClient) -> None:
    # "hello" is one token; two control tokens frame every text.
    answer = infer(client, "sts_embedding", TEXT=["hello " * 300, "hello " * (MAX_TOKENS - 2), "hello"])
    assert answer.as_numpy("TOKEN_COUNT").tolist() == [[MAX_TOKENS], [MAX_TOKENS], [3]]
    assert answer.as_numpy("TRUNCATED_TOKENS").tolist() == [[300 - (MAX_TOKENS - 2)], [0], [0]]
    long, cut, _ = answer.as_numpy("EMBEDDING")
    assert float(long @ cut) > 0.999


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("한국어 문장입니다.", id="korean"),
        pytest.param("a 🙂🙃👩\u200d👩\u200d👧", id="emoji"),
        pytest.param("e\u0301a\u0300\u0316", id="combining marks"),
        pytest.param("a\0b", id="nul inside"),
        pytest.param("a\u200bb", id="zero width inside"),
        pytest.param("مرحبا", id="right to left"),
        pytest.param("word " * 20_000, id="100,000 characters"),
        pytest.param("a" * 1_000_000, id="1 MB"),
    ],
)
def test_any_unicode_text_gets_a_unit_vector(client: InferenceServerClient, text: str) -> None:
    assert np.linalg.norm(embed(client, text)[0]) == pytest.approx(1, abs=1e-4)


def test_control_tokens_in_a_text_are_ordinary_text(client: InferenceServerClient) -> None:
    counts = infer(client, "sts_embedding", TEXT=["[SEP] [PAD] [MASK]", "cat"]).as_numpy("TOKEN_COUNT")
    # Brackets and letters, not three control tokens: [CLS] [ sep ] [ pad ] [ mask ] [SEP].
    assert counts.tolist() == [[11], [3]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is empty; text with at least one visible character is accepted"),
        (b" \t\n", "is empty"),
        (b"caf\xe9", "is not UTF-8 at byte 3"),
        (b"a" * 1_000_001, "at most 1000000 are accepted"),
    ],
    ids=["empty", "blank", "not UTF-8", "too long"],
)
def test_a_bad_text_says_what_is_accepted_and_the_next_request_works(
    client: InferenceServerClient, text: bytes, message: str
) -> None:
    with pytest.raises(InferenceServerException, match=message) as caught:
        embed(client, text)
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    with pytest.raises(InferenceServerException, match=message):
        infer(client, "sts", SENTENCE_1=[GUITAR], SENTENCE_2=[text])
    assert embed(client, GUITAR).shape == (1, 384)


@pytest.mark.parametrize("pair", [("", ""), ("", GUITAR), (GUITAR, "")], ids=["both", "first", "second"])
def test_many_bad_pairs_at_once_are_answered_each(client: InferenceServerClient, pair: tuple[str, str]) -> None:
    # Steps of an ensemble that fail side by side hang Triton 24.10, or kill it.
    def attempt(_: int) -> str:
        with pytest.raises(InferenceServerException) as caught:
            infer(client, "sts", SENTENCE_1=[pair[0]], SENTENCE_2=[pair[1]])
        return str(caught.value)

    with ThreadPoolExecutor(16) as pool:
        said = set(pool.map(attempt, range(100)))
    assert len(said) == 1
    assert "is empty; text with at least one visible character is accepted" in said.pop()


def test_requests_that_are_given_up_leave_the_server_working(client: InferenceServerClient) -> None:
    # So do steps that are cancelled side by side.
    def attempt(index: int) -> None:
        inputs = [text_input(name, ["hello there " * (1 + index % 40)] * 2) for name in ("SENTENCE_1", "SENTENCE_2")]
        with contextlib.suppress(InferenceServerException):
            client.infer("sts", inputs, client_timeout=0.005 * (1 + index % 20))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(attempt, range(300)))
    assert embed(client, GUITAR).shape == (1, 384)


@pytest.mark.parametrize("rows", [0, 65])
def test_a_batch_that_is_empty_or_too_large_is_refused(client: InferenceServerClient, rows: int) -> None:
    tensor = InferInput("TEXT", [rows, 1], "BYTES")
    tensor.set_data_from_numpy(np.full((rows, 1), b"cat", dtype=np.object_))
    with pytest.raises(InferenceServerException) as caught:
        client.infer("sts_embedding", [tensor], client_timeout=60)
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert embed(client, GUITAR).shape == (1, 384)


def test_bad_requests_among_many_harm_no_other(client: InferenceServerClient) -> None:
    texts: list[str | bytes] = [b"\xff" if index % 8 == 3 else f"sentence number {index}" for index in range(48)]

    def attempt(text: str | bytes) -> np.ndarray | InferenceServerException:
        try:
            return embed(client, text)[0]
        except InferenceServerException as error:
            return error

    before = executions(client, "sts_tokenizer")
    with ThreadPoolExecutor(len(texts)) as pool:
        answers = list(pool.map(attempt, texts))
    assert executions(client, "sts_tokenizer") - before < len(texts), "no two requests shared a batch"
    for text, answer in zip(texts, answers, strict=True):
        if text == b"\xff":
            assert isinstance(answer, InferenceServerException)
            assert "is not UTF-8" in str(answer)
        else:
            assert np.linalg.norm(answer) == pytest.approx(1, abs=1e-4)


def test_the_parts_can_be_asked_alone(client: InferenceServerClient) -> None:
    tokens = infer(client, "sts_tokenizer", TEXT=["a cat", "a cat sat there"]).as_numpy("INPUT_IDS")
    assert (tokens[0] == -1).sum() == 2
    tensor = InferInput("INPUT_IDS", list(tokens.shape), "INT32").set_data_from_numpy(tokens)
    answer = client.infer("sts_encoder", [tensor], outputs=[InferRequestedOutput("EMBEDDING")], client_timeout=60)
    first, second = answer.as_numpy("EMBEDDING")
    assert float(first @ embed(client, "a cat")[0]) > 0.999
    assert float(second @ embed(client, "a cat sat there")[0]) > 0.999


def number_input(name: str, *rows: int) -> InferInput:
    return InferInput(name, [len(rows), 1], "INT32").set_data_from_numpy(np.array([[each] for each in rows], np.int32))


def test_a_long_text_loses_its_beginning_where_it_is_asked_to(client: InferenceServerClient) -> None:
    words = ["cat", "dog", "house", "river", "green"] * 60
    kept = MAX_TOKENS - 2
    texts = text_input("TEXT", [" ".join(words)] * 2)
    answer = client.infer("sts_embedding", [texts, number_input("TRUNCATE_LEFT", 1, 0)], client_timeout=120)
    left, right = answer.as_numpy("EMBEDDING")
    last, first = embed(client, " ".join(words[-kept:]), " ".join(words[:kept]))
    assert (float(left @ last), float(right @ first)) == (pytest.approx(1, abs=1e-3), pytest.approx(1, abs=1e-3))
    assert float(left @ right) < 0.9999, "both ends are alike: the test says nothing"
    assert answer.as_numpy("TRUNCATED_TOKENS").tolist() == [[len(words) - kept]] * 2
    pairs = [text_input("SENTENCE_1", [" ".join(words)] * 2), text_input("SENTENCE_2", [" ".join(words[-kept:])] * 2)]
    answer = client.infer("sts", [*pairs, number_input("TRUNCATE_LEFT", 1, 0)], client_timeout=120)
    left, right = answer.as_numpy("SIMILARITY")[:, 0]
    assert (left, right) == (pytest.approx(1, abs=1e-3), pytest.approx(float(last @ first), abs=1e-2))


def test_tokenizers_tell_of_all_tokens_where_they_are_asked_to(client: InferenceServerClient) -> None:
    text = "Playing  guitars, unbelievably! " + "cat " * 400
    asked = [text_input("TEXT", [text]), number_input("WITH_TOKENS", 1)]
    (told,) = client.infer("sts_tokenizer", asked, client_timeout=60).as_numpy("TOKENS")[:, 0]
    tokens = json.loads(told)
    assert len(tokens) > MAX_TOKENS
    assert [each[1:] for each in (tokens[0], tokens[-1])] == [["[CLS]", True, None, None], ["[SEP]", True, None, None]]
    # What stands between the words is white space alone.
    assert "".join(text[start:stop] for *_, start, stop in tokens[1:-1]) == "".join(text.split())
    plain = infer(client, "sts_tokenizer", TEXT=[text])
    assert plain.as_numpy("TOKENS") is None
    # What the encoder gets is the beginning of that, framed again.
    assert plain.as_numpy("INPUT_IDS")[0, :-1].tolist() == [each[0] for each in tokens[: MAX_TOKENS - 1]]
    ids = InferInput("IDS", [1, len(tokens)], "INT32").set_data_from_numpy(
        np.array([[each[0] for each in tokens]], np.int32)
    )
    (decoded,) = client.infer("sts_tokenizer", [ids], client_timeout=60).as_numpy("DECODED")[:, 0]
    assert decoded.decode() == "playing guitars, unbelievably! " + " ".join(["cat"] * 400)
    with pytest.raises(InferenceServerException, match="TEXT is missing"):
        client.infer("sts_tokenizer", [number_input("WITH_TOKENS", 1)], client_timeout=60)


def test_padding_alone_is_a_zero_vector_and_the_server_lives_on(client: InferenceServerClient) -> None:
    ids = np.full((3, 5), -1, dtype=np.int32)
    tensor = InferInput("INPUT_IDS", list(ids.shape), "INT32").set_data_from_numpy(ids)
    answer = client.infer("sts_encoder", [tensor], client_timeout=60).as_numpy("EMBEDDING")
    np.testing.assert_array_equal(answer, np.zeros((3, 384), dtype=np.float32))
    assert embed(client, GUITAR).shape == (1, 384)


def test_an_id_of_no_token_is_answered_with_nan_and_its_neighbours_as_ever(client: InferenceServerClient) -> None:
    ids = np.array([[101, 2023, 102, -1], [101, 30522, 102, -1], [101, 2023, -3, 102]], dtype=np.int32)
    tensor = InferInput("INPUT_IDS", list(ids.shape), "INT32").set_data_from_numpy(ids)
    answer = client.infer("sts_encoder", [tensor], client_timeout=60).as_numpy("EMBEDDING")
    assert np.isnan(answer).all(1).tolist() == [False, True, True]
    assert np.linalg.norm(answer[0]) == pytest.approx(1, abs=1e-4)


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Read an object of JSON as strict parsers do."""
    [most] = Counter(name for name, _ in pairs).most_common(1) or [("", 1)]
    assert most[1] == 1, f"{most[0]} stands {most[1]} times in one object"
    return dict(pairs)


def strictly(response: httpx.Response) -> Any:
    assert response.is_success, response.text
    return json.loads(response.text, object_pairs_hook=once)


def test_strict_parsers_read_every_configuration(triton: Any) -> None:
    with httpx.Client(base_url=f"http://{triton.http_url}") as http:
        names = [each["name"] for each in strictly(http.post("/v2/repository/index"))]
        configurations = {name: strictly(http.get(f"/v2/models/{name}/config")) for name in names}
        assert all(strictly(http.get(f"/v2/models/{name}"))["name"] == name for name in names)
    assert configurations["sts"]["parameters"]["task"] == {"string_value": "sts"}


def test_strict_parsers_read_an_ensembles_answer_of_one_output(triton: Any) -> None:
    # Triton's ensembles put the parameters of a sequence into an answer once for each output.
    inputs = [{"name": "TEXT", "datatype": "BYTES", "shape": [1, 1], "data": [GUITAR]}]
    with httpx.Client(base_url=f"http://{triton.http_url}", timeout=60) as http:
        for model, output in (("cola", "PROBABILITY"), ("sts_embedding", "EMBEDDING")):
            asked = {"inputs": inputs, "outputs": [{"name": output}]}
            answer = strictly(http.post(f"/v2/models/{model}/infer", json=asked))
            assert [each["name"] for each in answer["outputs"]] == [output]
