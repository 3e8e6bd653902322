"""Uploaded files of sentence pairs."""

import asyncio
import csv
import io
import json

import pytest
from trident_api import files, problems
from trident_client import ServerError

PATHS = ["/pred/file/", "/pred/file", "/pred/multi/", "/pred/multi", "/pred/file/multi/", "/pred/file/multi"]
ROWS = [{"idx": index, "sentence1": "x" * (1 + index % 90), "sentence2": f"y{index}"} for index in range(200)]
ODD = [
    {"idx": 0, "sentence1": 'says "yes", twice', "sentence2": "고양이 🐟"},
    {"idx": 1, "sentence1": "two\nlines", "sentence2": "\u2028 and \x85"},
]


def as_json(rows):
    return json.dumps({"results": rows}).encode()


def as_lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_csv(rows):
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, ["idx", "sentence1", "sentence2"])
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def upload(api, content, path="/pred/file/", name="sample_data.json", media_type=None, **options):
    return api.post(path, files={"file": (name, content, media_type)}, follow_redirects=False, **options)


@pytest.mark.parametrize("path", PATHS)
def test_a_file_is_answered_in_its_order(api, transport, path):
    answer = upload(api, as_json(ROWS), path)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert set(body) == {"sentences", "preds", "scores", "runtime(sec)"}
    assert body["sentences"] == [[row["sentence1"], row["sentence2"]] for row in ROWS]
    assert body["scores"] == pytest.approx([len(row["sentence1"]) / 100 for row in ROWS])
    assert body["preds"] == [int(len(row["sentence1"]) >= 60) for row in ROWS]
    assert body["runtime(sec)"] > 0
    assert len(str(body["runtime(sec)"]).partition(".")[2]) <= 6, "no noise of floats"
    assert [len(each.inputs["SENTENCE_1"]) for each in transport.requests] == [64, 64, 64, 8]


@pytest.mark.parametrize(("path", "most"), [("/pred/file/", 1), ("/pred/multi/", 3), ("/pred/file/multi/", 3)])
def test_only_multi_asks_for_several_batches_at_once(make_api, transport, monkeypatch, path, most):
    under_way, seen = 0, []
    infer = transport.infer

    async def slow(request):
        nonlocal under_way
        under_way += 1
        seen.append(under_way)
        for _ in range(5):
            await asyncio.sleep(0)
        under_way -= 1
        return await infer(request)

    monkeypatch.setattr(transport, "infer", slow)
    answer = upload(make_api(file_concurrency=3), as_json(ROWS * 3), path)
    assert answer.status_code == 200
    assert max(seen) == most
    # Batches that overlap are not counted twice.
    assert 0 < float(answer.headers["x-inference-time"]) < 1000 * answer.json()["runtime(sec)"]


def test_the_deadline_is_each_batch_s_and_not_the_file_s(make_api, transport, monkeypatch):
    infer = transport.infer
    seconds = 0.1

    async def slow(request):
        await asyncio.sleep(seconds)
        return await infer(request)

    monkeypatch.setattr(transport, "infer", slow)
    api = make_api(deadline=0.6)
    answer = upload(api, as_json(ROWS * 2))
    assert answer.status_code == 200
    assert answer.json()["runtime(sec)"] > 0.6
    seconds = 10
    assert upload(api, as_json(ROWS * 2)).status_code == 504


@pytest.mark.parametrize(
    ("write", "name", "media_type"),
    [
        (as_json, "a.json", None),
        (as_json, "a", "application/json; charset=utf-8"),
        (as_json, "a", None),
        (as_lines, "a.jsonl", None),
        (as_lines, "A.NDJSON", "text/plain"),
        (as_lines, "a", "application/x-ndjson"),
        (as_lines, "a", None),
        (as_csv, "a.csv", None),
        (as_csv, "a", "text/csv"),
        (as_csv, "a", None),
        (lambda rows: b"\xef\xbb\xbf" + as_csv(rows), "a.csv", None),
        (lambda rows: json.dumps(rows, indent=1).encode(), "a.json", None),
        (lambda rows: json.dumps({"results": rows}, indent=1).encode(), "a", None),
    ],
)
def test_json_json_lines_and_csv_are_read_alike(api, write, name, media_type):
    body = upload(api, write(ODD), name=name, media_type=media_type).json()
    assert body["sentences"] == [[row["sentence1"], row["sentence2"]] for row in ODD]


def test_the_answer_comes_in_the_form_asked_for(api):
    lines = upload(api, as_json(ODD), headers={"accept": "application/x-ndjson"})
    assert lines.headers["content-type"] == "application/x-ndjson"
    rows = [json.loads(line) for line in lines.text.split("\n")[:-1]]
    assert [{key: row[key] for key in ("idx", "sentence1", "sentence2")} for row in rows] == ODD
    table = upload(api, as_json(ODD), headers={"accept": "text/csv"})
    assert table.headers["content-type"].startswith("text/csv")
    read = list(csv.DictReader(io.StringIO(table.content.decode(), newline="")))
    assert [(row["sentence1"], float(row["score"]), int(row["pred"])) for row in read] == [
        (row["sentence1"], pytest.approx(row["score"]), row["pred"]) for row in rows
    ]
    for accept in ("*/*", "application/json", "text/html, application/json;q=0.9"):
        assert upload(api, as_json(ODD), headers={"accept": accept}).json()["preds"] == [0, 0]


def test_each_pair_that_was_cut_is_told_even_in_a_streamed_answer(api):
    rows = [
        {"idx": index, "sentence1": "x" * (600 if index in {3, 1999} else 5), "sentence2": "y"} for index in range(2000)
    ]
    assert upload(api, as_json(rows)).json()["truncated"] == [3, 1999]
    assert upload(api, as_json(rows[:10])).headers["x-truncated"] == "true"
    assert "truncated" not in upload(api, as_json(rows[4:9])).json()
    lines = upload(api, as_json(rows), headers={"accept": "application/x-ndjson"}).text.splitlines()
    assert [index for index, line in enumerate(lines) if json.loads(line)["truncated"]] == [3, 1999]
    table = csv.DictReader(io.StringIO(upload(api, as_json(rows), headers={"accept": "text/csv"}).text))
    assert [row["idx"] for row in table if row["truncated"] == "1"] == ["3", "1999"]


def test_the_documentation_asks_for_json(api):
    responses = api.get("/openapi.json").json()["paths"]["/pred/file"]["post"]["responses"]
    assert next(iter(responses["200"]["content"])) == "application/json"


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson", "text/csv"])
def test_an_empty_file_has_an_empty_answer(api, transport, accept):
    answer = upload(api, as_json([]), headers={"accept": accept})
    assert answer.status_code == 200
    header = "idx,sentence1,sentence2,score,pred,truncated,unknown\r\n"
    expected = {"application/json": '"sentences":[]', "text/csv": header}
    assert expected.get(accept, "") in answer.text
    assert transport.requests == []


@pytest.mark.parametrize("path", ["/pred/file/", "/pred/multi/"])
def test_a_large_file_is_answered_while_it_is_worked_on(api, transport, path):
    rows = [{"idx": index, "sentence1": f"x{index}", "sentence2": "y"} for index in range(3000)]
    answer = upload(api, as_lines(rows), path, name="a.jsonl")
    assert answer.json()["sentences"] == [[f"x{index}", "y"] for index in range(3000)]
    assert len(answer.json()["scores"]) == 3000
    assert "content-length" not in answer.headers


def test_what_fails_at_once_has_its_status_and_what_fails_later_breaks_the_answer(api, transport, answer_by_length):
    rows = [{"idx": index, "sentence1": f"x{index}", "sentence2": "y"} for index in range(3000)]
    asked = 0

    def fail_at(first):
        def answer(request):
            nonlocal asked
            asked += 1
            if asked >= first:
                raise ServerError("broken")
            return answer_by_length(request)

        return answer

    transport._answer = fail_at(1)
    assert upload(api, as_json(rows)).status_code == 502
    asked, transport._answer = 0, fail_at(20)
    answer = upload(api, as_json(rows))
    assert answer.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        answer.json()


@pytest.mark.parametrize(
    ("content", "name", "says"),
    [
        (b"", "a.json", "not JSON"),
        (b"{", "a.json", "not JSON"),
        (b"\xff", "a.json", "not UTF-8 at byte 0"),
        (b"[" * 100_000, "a.json", "not JSON"),
        (b"{}", "a.json", "results: must be a list"),
        (b'{"results": 1}', "a.json", "results: must be a list"),
        (as_json([ROWS[0], {"idx": 1, "sentence1": "a"}]), "a.json", "results.1.sentence2: Field required"),
        (as_json([ROWS[0] | {"sentence1": " "}]), "a.json", "results.0.sentence1: must hold"),
        (as_json([ROWS[0] | {"sentence1": 7}]), "a.json", "results.0.sentence1: Input should be a valid string"),
        (as_json(["a"]), "a.json", "results.0: Input should be"),
        (as_json([ROWS[0] | {"idx": 1.5}]), "a.json", "results.0.idx: must be a whole number, a text or null"),
        (as_json([ROWS[0] | {"idx": True}]), "a.json", "results.0.idx: must be"),
        (b"sentence1,sentence_1,sentence2\na,b,c\n", "a.csv", "line 1: has the column sentence1 more than once"),
        (b"idx,idx,sentence1,sentence2\n1,2,a,b\n", "a.csv", "line 1: has the column idx more than once"),
        (b'{"idx": 1}\n\n{', "a.jsonl", "line 3: is not JSON"),
        (as_lines(ODD) + b'\n{"sentence1": "a"}', "a.jsonl", "line 4.sentence2: Field required"),
        (b"", "a.csv", "line 1: has no column sentence1"),
        (b"idx,sentence1\n1,a\n", "a.csv", "line 1: has no column sentence2"),
        (b"sentence1,sentence2\na,b\na\n", "a.csv", "line 3.sentence2: Input should be a valid string"),
        (b'sentence1,sentence2\na,"b\n', "a.csv", "is not CSV"),
        (b"sentence1,sentence2\nWell, yes,b\n", "a.csv", "line 2: has more cells than the header"),
        (b"sentence1,sentence2\na, \n", "a.csv", "line 2.sentence2: must hold"),
    ],
)
def test_a_bad_file_is_refused_with_the_place(api, transport, content, name, says):
    answer = upload(api, content, name=name)
    assert answer.status_code == 422
    assert says in answer.json()["detail"]
    assert transport.requests == []


def test_of_a_million_bad_rows_only_the_first_are_looked_at(api, monkeypatch):
    looked_at = []
    validate = files.FilePair.model_validate
    monkeypatch.setattr(files.FilePair, "model_validate", lambda row: looked_at.append(1) or validate(row))
    answer = upload(api, b"[" + b"{}," * 300_000 + b"{}]")
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) == 20
    assert answer.json()["detail"].endswith("; the rest was not looked at")
    assert len(looked_at) == 10
    # As many as are named, and no more.
    assert not upload(api, b"[" + b"{}," * 9 + b"{}]").json()["detail"].endswith("looked at")


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_a_text_that_no_model_takes_is_refused_with_its_row(api, transport, name):
    rows = [ROWS[0]] * 1500
    rows[1400] = ROWS[0] | {"sentence2": "x" * 1_000_001}
    answer = upload(api, as_json(rows) if name == "a.json" else as_lines(rows), name=name)
    assert answer.status_code == 422
    place = "results.1400" if name == "a.json" else "line 1401"
    assert answer.json()["detail"] == f"{place}.sentence2: has 1000001 bytes; at most 1000000 are accepted"
    assert transport.requests == []


@pytest.mark.parametrize("file", [(None, "text, no file"), ("", "a file without a name")])
def test_a_text_in_the_files_place_is_told_what_is_accepted(api, transport, file):
    for sent in ({"files": {"file": file}}, {"data": {"file": file[1]}}):
        answer = api.post("/pred/file", **sent)
        said = "must be an uploaded file with a name, as `curl -F file=@pairs.csv` sends it"
        assert (answer.status_code, answer.json()["errors"]) == (422, [{"field": "file", "detail": said}])
    assert transport.requests == []


@pytest.mark.parametrize(
    "request_options",
    [
        {"files": {"other": ("a.json", b"{}")}},
        {"json": {"results": []}},
        {"content": b"", "headers": {"content-type": "multipart/form-data"}},
        {"content": b"no boundary in here", "headers": {"content-type": "multipart/form-data; boundary=x"}},
        {"files": {"file": ("a.json", as_json(ROWS))}, "data": {"model": "none"}},
        {"files": {"file": ("a.json", as_json([]))}, "data": {"model": "none"}},
    ],
)
def test_a_bad_form_is_a_422(api, request_options):
    answer = api.post("/pred/file/", **request_options)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("names", [("file", "file"), ("file", "other")])
def test_a_second_file_is_not_dropped_without_a_word(api, transport, names):
    sent = [(name, (f"{index}.json", as_json(ROWS[:1]))) for index, name in enumerate(names)]
    answer = api.post("/pred/multi", files=sent)
    assert answer.status_code == 422
    assert answer.json()["detail"] == "file: 2 files came in one form; one is accepted"
    assert transport.requests == []


@pytest.mark.parametrize("content", [b"no boundary in here", b""])
@pytest.mark.parametrize("media_type", ["multipart/form-data; boundary=x", "multipart/form-data"])
def test_a_form_that_cannot_be_read_is_told_in_words_for_its_sender(api, content, media_type):
    detail = api.post("/pred/file", content=content, headers={"content-type": media_type}).json()["detail"]
    assert "curl -F file=@pairs.csv" in detail or detail == "file: Field required"
    assert "at index" not in detail


def test_what_a_validator_says_is_told_word_for_word(api):
    blank = upload(api, as_json([{"sentence1": "a", "sentence2": " "}]), "/pred/file").json()["errors"]
    assert blank == [{"field": "results.0.sentence2", "detail": "must hold at least one visible character"}]
    assert problems.field_problems([{"loc": ("a",), "msg": "Value error, x", "ctx": {"error": ValueError("x")}}]) == [
        problems.FieldProblem(field="a", detail="x")
    ]
    # What begins as pydantic's do stays whole.
    other = {"loc": ("a",), "msg": "Value error, x", "ctx": {"error": "x"}}
    assert problems.field_problems([other])[0].detail == "Value error, x"


@pytest.mark.parametrize("path", PATHS)
def test_a_file_has_a_limit_of_its_own(make_api, path):
    api = make_api(max_body_bytes=100, max_file_bytes=50_000)
    assert upload(api, as_json(ROWS), path).status_code == 200
    assert upload(api, b" " * 50_000, path).status_code == 413


def test_a_long_file_is_refused_while_it_arrives(make_api):
    sent = 0

    def chunks():
        nonlocal sent
        yield b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.json"\r\n\r\n'
        for _ in range(1000):
            sent += 1
            yield b" " * 1000

    api = make_api(max_file_bytes=20_000)
    answer = api.post("/pred/file/", content=chunks(), headers={"content-type": "multipart/form-data; boundary=x"})
    assert answer.status_code == 413
    assert "20000 bytes" in answer.json()["detail"]


def test_another_model_may_be_named(api, transport):
    answer = api.post("/pred/multi/", files={"file": ("a.json", as_json(ROWS[:1]))}, data={"model": "sts_ko"})
    assert answer.status_code == 200
    assert transport.requests[0].model == "sts_ko"


def test_it_may_be_named_in_the_query(api, transport):
    pair = {"sentence_1": "a", "sentence_2": "b"}
    for given in ({"files": {"file": ("a.json", as_json(ROWS[:1]))}}, {"json": pair}):
        path = "/pred/sentences" if "json" in given else "/pred/file"
        assert api.post(f"{path}?model=sts_ko", **given).status_code == 200
        assert transport.requests[-1].model == "sts_ko"
        assert "accepted are sts, sts_ko" in api.post(f"{path}?model=none", **given).json()["detail"]
    two = api.post("/pred/sentences?model=sts_ko", json=pair | {"model": "sts"})
    assert two.json()["detail"] == "model: is sts in the body and sts_ko in the query"
