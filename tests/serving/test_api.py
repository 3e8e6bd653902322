"""The facade in front of the real Triton."""

import pytest
from fastapi.testclient import TestClient
from trident_api.app import create_app
from trident_api.settings import ApiSettings
from trident_server.process import TritonProcess

pytestmark = pytest.mark.serving

SIMILAR = {"sentence_1": "A man is playing a guitar.", "sentence_2": "Someone plays an instrument."}
UNRELATED = {"sentence_1": "A man is playing a guitar.", "sentence_2": "The stock market fell sharply."}


def settings(triton: TritonProcess, protocol: str) -> ApiSettings:
    return ApiSettings(triton_url=triton.http_url, triton_grpc_url=triton.grpc_url, triton_protocol=protocol)


@pytest.fixture(params=["http", "grpc"])
def api(triton, request):
    with TestClient(create_app(settings(triton, request.param)), raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize("path", ["/pred/sentences", "/pred/sentences/"])
def test_the_published_request_works(api, path):
    similar = api.post(path, json=SIMILAR).json()
    assert set(similar) == {"sentence_1", "sentence_2", "score", "pred", "runtime(sec)"}
    assert similar["score"] > 0.5
    assert similar["pred"] == int(similar["score"] >= 0.6)
    unrelated = api.post(path, json=UNRELATED).json()
    assert unrelated["score"] < 0.2
    assert unrelated["pred"] == 0


def test_generate_and_pred_agree(api):
    generated = api.post("/generate", json=SIMILAR).json()
    assert set(generated) == {"score", "pred"}
    assert generated["score"] == pytest.approx(api.post("/pred/sentences", json=SIMILAR).json()["score"], abs=0.01)


@pytest.mark.parametrize(
    ("content", "status", "says"),
    [
        (b'{"sentence_1": "", "sentence_2": "b"}', 422, "visible character"),
        (b'{"sentence_1": "a"}', 422, "Field required"),
        (b'{"sentence_1": 7, "sentence_2": "b"}', 422, "valid string"),
        (b'{"sentence_1": "\xff", "sentence_2": "b"}', 422, "UTF-8"),
        (b'{"sentence_1": "' + b"a" * 13_000_000 + b'", "sentence_2": "b"}', 413, "13000000 bytes"),
    ],
    ids=["empty", "missing", "number", "invalid UTF-8", "1 MB"],
)
def test_bad_input_is_refused_and_the_next_good_request_works(api, content, status, says):
    answer = api.post("/pred/sentences", content=content)
    assert answer.status_code == status
    assert says in answer.json()["detail"]
    assert api.post("/pred/sentences", json=SIMILAR).status_code == 200


def test_texts_are_parted_into_tokens_of_each_set_that_takes_texts(api):
    text = "고양이 plays guitars."
    for model in ("sts", "cola", "sts_ko"):
        (tokens,) = api.post("/tokenize", json={"inputs": text, "model": model, "add_special_tokens": False}).json()
        assert all(each["text"] == text[each["start"] : each["stop"]] for each in tokens)
        assert "".join(each["text"] for each in tokens).replace(" ", "") == text.replace(" ", "")


def test_long_sentences_are_answered_and_said_to_be_cut(api):
    answer = api.post("/pred/sentences", json={"sentence_1": "word " * 500, "sentence_2": "b"})
    assert answer.status_code == 200
    assert answer.headers["x-truncated"] == "true"
