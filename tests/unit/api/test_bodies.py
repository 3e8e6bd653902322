"""What a body may be: how long by route, how it may be compressed, and how much of all is held."""

import gzip
import json
import zlib

import pytest
from trident_api.admission import Kind
from trident_api.throughput import ENOUGH_ENDED

TEXTS = ["가나다라마 " * 166 + "다섯자"] * 2048
EMBEDDINGS = "/v1/embeddings"
FORM = b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'


@pytest.mark.parametrize(
    ("texts", "ascii_only"),
    [(["word " * 200] * 2048, True), (TEXTS, False), (TEXTS, True)],
    ids=["en", "ko", "escaped"],
)
def test_as_many_inputs_as_openai_takes_fit_with_a_thousand_characters_each(api, texts, ascii_only):
    body = json.dumps({"model": "sts", "input": texts}, ensure_ascii=ascii_only).encode()
    answer = api.post(EMBEDDINGS, content=body)
    assert answer.status_code == 200
    assert len(answer.json()["data"]) == 2048


LONGEST = "가" * 333_333


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tokenize", {"inputs": TEXTS}),
        ("/decode", {"ids": [[999] * 300] * 2048}),
        ("/generate", {"passage": LONGEST}),
        ("/generate", {"question": "어디?", "context": LONGEST}),
        ("/pred/sentences", {"sentence_1": LONGEST, "sentence_2": LONGEST}),
        ("/pred/sentences", {"sentence_1": "x" * 1_000_000, "sentence_2": "x" * 1_000_000}),
    ],
)
@pytest.mark.parametrize("ascii_only", [False, True], ids=["ko", "escaped"])
def test_what_is_taken_fits_however_it_is_written(api, path, body, ascii_only):
    answer = api.post(path, content=json.dumps(body, ensure_ascii=ascii_only).encode())
    assert answer.status_code == 200, answer.text[:200]


@pytest.mark.parametrize(
    ("path", "limit"),
    [("/generate", 1000), ("/pred/sentences/", 1000), ("/qa", 2000), (EMBEDDINGS, 2000), ("/predict/cola/", 2000)],
)
def test_a_list_may_be_longer_than_a_text(make_api, path, limit):
    api = make_api(max_body_bytes=1000, max_list_bytes=2000)
    assert api.post(path, content=b" " * limit).status_code == 422 - 22 * path.startswith("/v1")
    assert api.post(path, content=b" " * (limit + 1)).status_code == 413


def test_bodies_under_way_are_bounded_together(make_api):
    api = make_api(max_held_bytes=1000, retry_after=7)
    answer = api.post("/acceptability", content=b" " * 1001)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    # Where the queue has measured, it knows when all that is held will have been answered.
    line = api.app.state.inference._admission._lines[Kind.LARGE]
    line.throughput._work, line.throughput._seconds, line.throughput._ended = 1000.0, 1.0, ENOUGH_ENDED
    for waiting, seconds in ((8500.0, "9"), (0.0, "1"), (1e9, "60")):
        line.waiting_work = waiting
        answer = api.post("/acceptability", content=b" " * 1001)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, seconds)
        assert answer.json()["detail"].endswith(f"try again in {seconds} s.")
    line.waiting_work = 0.0
    # What was held is given back, also of requests that failed.
    for _ in range(3):
        assert api.post("/acceptability", content=b" " * 900).status_code == 422
        assert api.post("/generate", json={"passage": "x" * 900}).status_code == 200


def compressed(body, **headers):
    return {"content": body, "headers": {"content-encoding": "gzip", **headers}}


def test_a_compressed_body_is_read(api):
    body = {"sentences": ["x" * 25, "고양이"] * 100}
    answer = api.post("/acceptability", **compressed(gzip.compress(json.dumps(body).encode())))
    assert answer.json()["probs"][:2] == pytest.approx([0.25, 0.09])
    form = FORM + b"sentence1,sentence2\na,b\n\r\n--x--"
    upload = compressed(gzip.compress(form, mtime=0), **{"content-type": "multipart/form-data; boundary=x"})
    assert api.post("/pred/file", **upload).json()["sentences"] == [["a", "b"]]


@pytest.mark.parametrize("path", ["/acceptability", "/pred/file"])
def test_one_that_grows_without_end_is_refused_before_it_has(make_api, path):
    api = make_api(max_list_bytes=1_000_000, max_file_bytes=1_000_000)
    bomb = gzip.compress((FORM if path == "/pred/file" else b"") + b" " * 100_000_000, 9)
    assert len(bomb) < 1_000_000
    answer = api.post(path, **compressed(bomb, **{"content-type": "multipart/form-data; boundary=x"}))
    assert answer.status_code == 413
    assert "1000000 bytes" in answer.json()["detail"]


BODY = gzip.compress(b'{"passage": "a"}', mtime=0)


@pytest.mark.parametrize(
    ("content", "encoding", "status", "says"),
    [
        (b'{"passage": "a"}', "gzip", 422, "not gzip"),
        (zlib.compress(b"{}"), "gzip", 422, "not gzip"),
        (BODY[:-3], "gzip", 422, "ends before"),
        (b"", "gzip", 422, "ends before"),
        (BODY + b"more", "gzip", 422, "behind the end"),
        (BODY, "br", 415, "gzip is accepted"),
        (BODY, "gzip, gzip", 415, "gzip is accepted"),
        (b'{"passage": "a"}', "identity", 200, ""),
        (BODY, "GZIP", 200, ""),
    ],
)
def test_what_is_compressed_otherwise_is_refused(api, content, encoding, status, says):
    answer = api.post("/generate", content=content, headers={"content-encoding": encoding})
    assert answer.status_code == status
    assert says in answer.text


@pytest.mark.parametrize("size", [1, 5, 262_143, 262_144, 262_145, 700_000])
def test_all_of_a_compressed_body_arrives(api, size):
    body = json.dumps({"passage": "x" * size}).encode()
    for level in (1, 9):
        assert api.post("/generate", **compressed(gzip.compress(body, level, mtime=0))).json()["prob"] == pytest.approx(
            size / 100
        )
