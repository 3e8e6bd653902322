"""The commands on arguments, standard input and files, over a fake transport."""

import csv
import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from trident_client import BadInputError, OverloadedError, ReadTimeoutError, ServerError, TransportError, TridentClient
from trident_client.cli import answering, processing, tasks
from trident_client.cli.journal import Journal
from trident_client.cli.readers import Row

SENTENCES = ["I am a boy.", "고양이가 잔다.", 'She said "hi",\nand left. 🙂', "a\tb\0c"]
LENGTHS = [len(each.encode()) / 100 for each in SENTENCES]


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def write(path, rows: list[dict]) -> None:
    """Write rows in the format of the path's ending."""
    if path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, ensure_ascii=False), "utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)


def read(path) -> list[dict]:
    """Read what a command wrote, in the format of the path's ending."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    if path.suffix == ".jsonl":
        return lines(path.read_text("utf-8"))
    return json.loads(path.read_text("utf-8")) if path.suffix == ".json" else pq.read_table(path).to_pylist()


def test_arguments_are_answered_as_json_lines(trident):
    result = trident("cola", *SENTENCES)
    assert result.exit_code == 0
    assert lines(result.stdout) == [
        {"sentence": text, "probability": length} for text, length in zip(SENTENCES, LENGTHS, strict=True)
    ]
    assert result.stderr == ""
    assert lines(trident("sts", "aa", "b").stdout) == [{"sentence_1": "aa", "sentence_2": "b", "similarity": 0.02}]
    assert lines(trident("embed", "aa").stdout) == [{"text": "aa", "embedding": [0.02, 0.02, 0.02]}]
    (answer,) = lines(trident("qa", "Who?", "고양이 x").stdout)
    assert answer == {"question": "Who?", "context": "고양이 x", "answer": "고양이", "score": 0.5, "start": 0, "end": 1}
    (answer,) = lines(trident("qa", "Who?", "a b", "--top-k", "2").stdout)
    assert [each["answer"] for each in answer["answers"]] == ["a", "b"]


def test_a_reader_may_be_kept_from_saying_that_there_is_no_answer(trident, transport):
    assert trident("qa", "Who?", "a b").exit_code == 0
    assert trident("qa", "Who?", "a b", "--no-answer", "off").exit_code == 0
    assert ["NO_ANSWER" in request.inputs for request in transport.requests] == [False, True]
    assert trident("qa", "Who?", "a b", "--no-answer", "maybe").exit_code == 2


def test_a_language_that_the_model_was_not_made_for_is_a_line_and_the_rows_are_answered(trident, transport):
    transport.configurations["cola"] = {"parameters": {"languages": {"string_value": "en"}}}
    result = trident("cola", "나는 소년이다", "I am")
    assert (result.exit_code, len(lines(result.stdout))) == (0, 2)
    assert "trident: cola was made for en alone, and a text is in ko" in " ".join(result.stderr.split())


def test_a_prompt_of_the_set_is_named(trident, transport):
    transport.configurations["sts_tokenizer"] = {"parameters": {"prompts": {"string_value": '{"query": "query: "}'}}}
    assert trident("embed", "aa", "--prompt-name", "query").exit_code == 0
    assert transport.requests[-1].inputs["TEXT"].tolist() == [[b"query: aa"]]
    for command in (("embed", "aa"), ("sts", "aa", "bb")):
        assert trident(*command, "--input-type", "search_query").exit_code == 0
        assert next(iter(transport.requests[-1].inputs.values())).tolist() == [[b"query: aa"]]
    assert trident("embed", "aa", "--input-type", "clustering").exit_code == 2
    result = trident("embed", "aa", "--prompt-name", "passage")
    assert (result.exit_code != 0, "accepted are: query" in " ".join(result.stderr.split())) == (True, True)


def test_a_text_that_is_too_long_loses_the_end_that_is_said_or_is_a_bad_row(trident, transport):
    assert trident("embed", "aa", "--truncate", "left").exit_code == 0
    assert transport.requests[-1].inputs["TRUNCATE_LEFT"].tolist() == [[1]]
    result = trident("embed", "aa", "b" * 1001, "cc", "--truncate", "error")
    first, long, last = lines(result.stdout)
    assert "is longer than the model takes" in long["error"]
    assert ("embedding" in first, "embedding" in last, result.exit_code != 0) == (True, True, True)
    assert trident("embed", "aa", "--truncate", "middle").exit_code == 2
    parameters = {"labels": {"string_value": '["short"]'}}
    transport.configurations["classify"] = {"parameters": parameters}
    for command in (["cola"], ["classify"], ["rerank", "a query"]):
        assert trident(*command, "aa", "--truncate", "left").exit_code == 0, command
        assert transport.requests[-1].inputs["TRUNCATE_LEFT"].tolist() == [[1]]
        first, long = lines(trident(*command, "aa", "b" * 1001, "--truncate", "error").stdout)
        assert ("error" in first, "is longer than the model takes" in long["error"]) == (False, True)
    transport.configurations["sts_tokenizer"] = {"parameters": {"prompts": {"string_value": '{"query": "q: "}'}}}
    assert trident("sts", "aa", "bb", "--truncate", "left", "--prompt-name", "query").exit_code == 0
    sent = transport.requests[-1].inputs
    assert (sent["TRUNCATE_LEFT"].tolist(), sent["SENTENCE_2"].tolist()) == ([[1]], [[b"q: bb"]])


@pytest.mark.parametrize(("form", "numbers"), [("int8", [127] * 3), ("ubinary", [224]), ("binary", [96])])
def test_embeddings_are_written_in_the_format_that_is_asked_for(trident, tmp_path, form, numbers):
    asked = ("--encoding-format", form)
    assert lines(trident("embed", "aa", *asked).stdout) == [{"text": "aa", "embedding": numbers}]
    (tmp_path / "in.txt").write_text("aa\n" * 3)
    for output in ("out.jsonl", "out.parquet"):
        assert trident("embed", "-i", "in.txt", "-o", output, *asked).exit_code == 0
        assert [row["embedding"] for row in read(tmp_path / output)] == [numbers] * 3
    kind = pq.read_schema(tmp_path / "out.parquet").field("embedding").type
    assert kind == pa.list_(pa.uint8() if form == "ubinary" else pa.int8())
    assert trident("embed", "aa", "--encoding-format", "base64").exit_code == 2


def test_the_best_texts_behind_a_query_are_put_in_order(trident):
    found = lines(trident("rerank", "q", "aa", "a", "", "aaa", "--top-n", "2").stdout)
    assert [each["text"] for each in found] == ["aaa", "aa", ""]
    assert [each["score"] for each in found[:2]] == [0.03, 0.02]
    assert "is empty" in found[2]["error"]
    assert [each["text"] for each in lines(trident("rerank", "q", "aa", "a").stdout)] == ["aa", "a"]
    refused = trident("rerank", "--top-n", "2", stdin=b"q\ta\n")
    assert (refused.exit_code, "give both" in refused.stderr) == (2, True)


def test_standard_input_has_a_row_a_line(trident):
    assert [row["probability"] for row in lines(trident("cola", stdin="하나\ntwo\r\n".encode()).stdout)] == [0.06, 0.03]
    (row,) = lines(trident("sts", stdin=b"one\ttwo\n").stdout)
    assert (row["sentence_1"], row["sentence_2"]) == ("one", "two")
    (row,) = lines(trident("qa", "Who?", stdin=b"a whole\ncontext").stdout)
    assert (row["context"], row["answer"]) == ("a whole\ncontext", "a")
    (row,) = lines(trident("sts", "--format", "jsonl", stdin=b'{"sentence1": "x", "sentence2": "y", "id": 7}').stdout)
    assert row == {"sentence1": "x", "sentence2": "y", "id": 7, "similarity": 0.01}


@pytest.mark.parametrize("output", ["out.csv", "out.jsonl", "out.json", "out.parquet"])
@pytest.mark.parametrize("source", ["in.csv", "in.jsonl", "in.json", "in.parquet"])
def test_every_format_is_read_and_written(trident, tmp_path, source, output):
    write(tmp_path / source, [{"id": f"n{place}", "sentence": text} for place, text in enumerate(SENTENCES)])
    result = trident("cola", "--input", source, "--output", output)
    assert result.exit_code == 0, result.stderr
    rows = read(tmp_path / output)
    assert [row["id"] for row in rows] == ["n0", "n1", "n2", "n3"]
    assert [row["sentence"] for row in rows] == SENTENCES
    assert [float(row["probability"]) for row in rows] == pytest.approx(LENGTHS)
    assert not any(row.get("error") for row in rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([source, output])


@pytest.mark.parametrize("output", ["out.csv", "out.jsonl", "out.json", "out.parquet"])
def test_embeddings_and_lists_of_answers_are_written_in_every_format(trident, tmp_path, output):
    write(tmp_path / "in.csv", [{"text": "aa"}, {"text": " "}])
    assert trident("embed", "-i", "in.csv", "-o", output).exit_code == 1
    good, bad = read(tmp_path / output)
    vector = json.loads(good["embedding"]) if output.endswith("csv") else good["embedding"]
    assert vector == pytest.approx([0.02] * 3)
    assert bad["error"] == "text is empty; text with at least one visible character is accepted"
    write(tmp_path / "in.jsonl", [{"question": "Who?", "context": "a b"}])
    assert trident("qa", "-i", "in.jsonl", "-o", output, "--top-k", "2").exit_code == 0
    (row,) = read(tmp_path / output)
    spans = json.loads(row["answers"]) if output.endswith("csv") else row["answers"]
    assert [span["answer"] for span in spans] == ["a", "b"]


def test_parquet_keeps_the_types_of_its_columns(trident, tmp_path):
    table = pa.table({"sentence": ["aa"], "n": pa.array([3], pa.int16()), "when": pa.array([0], pa.timestamp("us"))})
    pq.write_table(table, tmp_path / "in.parquet")
    assert trident("cola", "-i", "in.parquet", "-o", "out.parquet").exit_code == 0
    schema = pq.read_schema(tmp_path / "out.parquet")
    assert schema.names == ["sentence", "n", "when", "probability", "error"]
    assert (schema.field("n").type, schema.field("probability").type) == (pa.int16(), pa.float32())
    assert trident("cola", "-i", "in.parquet", "-o", "out.jsonl").exit_code == 0
    assert read(tmp_path / "out.jsonl")[0]["when"].startswith("1970-01-01")


def test_parquet_text_that_is_not_declared_as_text_is_read(trident, tmp_path):
    kinds = (pa.binary(), pa.large_binary())
    columns = {
        "sentence": pa.array(["고양이", "a"], pa.string()).cast(kinds[0]),
        "picture": pa.array([b"\xff\xd8", None], kinds[1]),
    }
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    assert trident("cola", "-i", "in.parquet", "-o", "out.parquet").exit_code == 0
    written = pq.read_table(tmp_path / "out.parquet")
    assert written["probability"].to_pylist() == pytest.approx([0.09, 0.01])
    for name, column in columns.items():
        assert written[name].combine_chunks().equals(column), "what is carried on is what was there"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (pa.timestamp("ns"), "1970-01-01 00:00:00.000000001"),
        (pa.time64("ns"), "00:00:00.000000001"),
        (pa.duration("ns"), "1"),
    ],
    ids=str,
)
def test_nanoseconds_are_carried_on_as_they_are(trident, tmp_path, kind, text):
    column = pa.array([1, None], kind)
    pq.write_table(pa.table({"sentence": ["a", "b"], "when": column}), tmp_path / "in.parquet")
    assert trident("cola", "-i", "in.parquet", "-o", "out.parquet").exit_code == 0
    assert pq.read_table(tmp_path / "out.parquet")["when"].combine_chunks().equals(column)
    for output in ("out.jsonl", "out.csv"):
        assert trident("cola", "-i", "in.parquet", "-o", output).exit_code == 0
        assert [row["when"] for row in read(tmp_path / output)] == [text, None if output == "out.jsonl" else ""]


def test_what_is_no_number_is_null_in_json(trident, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"sentence": "a", "n": NaN, "more": [Infinity, {"x": -Infinity, "y": 1.5}]}\n')
    for output in ("out.jsonl", "out.json"):
        assert trident("cola", "-i", "in.jsonl", "-o", output).exit_code == 0
        text = (tmp_path / output).read_text()
        (row,) = [json.loads(text, parse_constant=pytest.fail)] if output == "out.jsonl" else json.loads(text)
        assert (row["n"], row["more"]) == (None, [None, {"x": None, "y": 1.5}])


def test_the_predecessors_uploaded_form_is_read(trident, tmp_path):
    rows = [{"idx": 0, "sentence1": "a", "sentence2": "b"}]
    (tmp_path / "in.json").write_text(json.dumps({"results": rows}))
    assert trident("sts", "-i", "in.json", "-o", "out.json").exit_code == 0
    assert read(tmp_path / "out.json") == [rows[0] | {"similarity": 0.01}]


def test_a_column_of_the_same_name_is_kept(trident, tmp_path):
    write(tmp_path / "in.csv", [{"sentence": "aa", "probability": "mine", "error": "mine too"}])
    for output in ("out.csv", "out.jsonl"):
        assert trident("cola", "-i", "in.csv", "-o", output).exit_code == 0
        (row,) = read(tmp_path / output)
        assert (row["probability"], row["error"], float(row["trident_probability"])) == ("mine", "mine too", 0.02)


def test_its_own_output_is_read_again_and_again(trident, tmp_path):
    write(tmp_path / "0.csv", [{"sentence": "aa"}])
    for number in range(3):
        for output in (f"{number + 1}.csv", "out.parquet", "out.jsonl"):
            assert trident("cola", "-i", f"{number}.csv", "-o", output).exit_code == 0
            (row,) = read(tmp_path / output)
            assert float(row["trident_" * number + "probability"]) == pytest.approx(0.02)
    assert sorted(row) == sorted(
        ["sentence", "error", "trident_error", *("trident_" * number + "probability" for number in range(3))]
    )


ROWS_OF_THEIR_OWN = [{"id": 1}, {"sentence": "aa", "note": "x"}, {"sentence": "b", "error": "mine", "id": 2}]


@pytest.mark.parametrize("output", ["out.csv", "out.jsonl", "out.json", "out.parquet"])
def test_every_column_of_every_json_row_is_kept(trident, tmp_path, output):
    write(tmp_path / "in.jsonl", ROWS_OF_THEIR_OWN)
    assert trident("cola", "-i", "in.jsonl", "-o", output).exit_code == 1
    missing, *rows = read(tmp_path / output)
    assert [row.get("note") or None for row in rows] == ["x", None]
    assert rows[1]["error"] == "mine"
    assert [float(row["probability"]) for row in rows] == [pytest.approx(0.02), pytest.approx(0.01)]
    reported = "trident_error" if "trident_error" in missing else "error"
    assert missing[reported] == "sentence is missing; there are id"
    assert str(missing["id"]) == "1"


def test_a_table_from_a_pipe_has_the_columns_of_its_first_row(trident, tmp_path):
    content = "".join(json.dumps(row) + "\n" for row in ROWS_OF_THEIR_OWN).encode()
    done = trident(
        "cola", "--format", "jsonl", "-o", "out.csv", stdin=b"{broken\n" + content[content.index(b"\n") + 1 :]
    )
    assert done.exit_code == 1
    rows = read(tmp_path / "out.csv")
    assert [row["sentence"] for row in rows] == ["", "aa", "b"]
    assert rows[1]["probability"] == "0.02"
    assert rows[2]["error"] == "no column error, id in the rows before; give the file with --input, or write JSON"
    # JSON has a place for each.
    done = trident("cola", "--format", "jsonl", stdin=content[content.index(b"\n") + 1 :])
    assert done.exit_code == 0
    assert lines(done.stdout)[1] == ROWS_OF_THEIR_OWN[2] | {"probability": 0.01}


@pytest.mark.parametrize("output", ["out.csv", "out.tsv"])
@pytest.mark.parametrize("text", ["a\rb", "a\r\nb", "a\nb", "a\tb", 'say "a"', '"a'])
def test_line_ends_and_quotation_marks_within_a_text_break_no_row(trident, tmp_path, output, text):
    write(tmp_path / "in.jsonl", [{"sentence": text, "id": "1"}, {"sentence": "x", "id": "2"}])
    assert trident("cola", "-i", "in.jsonl", "-o", output).exit_code == 0
    assert trident("cola", "-i", output, "-o", "again.jsonl").exit_code == 0
    first, second = read(tmp_path / "again.jsonl")
    if output == "out.tsv":
        text = text.replace("\r", "\\r").replace("\n", "\\n").replace("\t", "\\t")
    assert (first["sentence"], first["id"], second["sentence"], second["id"]) == (text, "1", "x", "2")


def test_bad_rows_are_told_before_the_next_good_one_comes(transport, monkeypatch):
    monkeypatch.setattr(processing, "MAX_PENDING_BAD", 3)
    read = []

    def rows():
        for number in range(1, 13):
            read.append(number)
            yield Row(number, {"sentence": "a"} if number in {1, 10} else {})

    with TridentClient(transport=transport) as client:
        job = processing.RowProcessor(tasks.cola("cola"), client, None, lambda row, problem: None)
        reported = [
            (row.number, problem is None, len(read)) for row, _, problem in job.answered(rows(), processing.Report())
        ]
    assert [number for number, _, _ in reported] == list(range(1, 13))
    assert [number for number, good, _ in reported if good] == [1, 10]
    assert max(ahead - number for number, _, ahead in reported) == 3


BAD_CSV = b"id,sentence\n1,good\n2, \n3\n4,\xff bytes\n5,refuse\n6,good\n"
BAD_JSONL = b"""{"sentence": "good"}
{broken
[1]
{"text2": 1}
{"sentence": 7}

{"sentence": "refuse"}
{"sentence": "good"}
"""


@pytest.mark.parametrize(
    ("name", "content", "problems"),
    [
        (
            "in.csv",
            BAD_CSV,
            {
                2: "sentence is empty; text with at least one visible character is accepted",
                3: "the row has 1 fields; the header has 2",
                4: "sentence holds bytes that are not UTF-8",
                5: "TEXT 0 is refused",
            },
        ),
        (
            "in.jsonl",
            BAD_JSONL,
            {
                2: "not JSON: Expecting property name",
                3: "an object is accepted, not [1]",
                4: "sentence is missing; there are text2",
                5: "sentence is 7; text is accepted",
                7: "TEXT 0 is refused",
            },
        ),
    ],
)
@pytest.mark.parametrize("output", ["out.csv", "out.jsonl", "out.json", "out.parquet"])
def test_bad_rows_are_reported_by_number_and_do_not_stop_the_rest(trident, tmp_path, name, content, problems, output):
    (tmp_path / name).write_bytes(content)
    result = trident("cola", "--input", name, "--output", output)
    assert result.exit_code == 1
    reported = [line for line in result.stderr.splitlines() if line.startswith("row ")]
    assert len(reported) == len(problems)
    for line, (number, problem) in zip(reported, problems.items(), strict=True):
        assert line.startswith(f"row {number}: {problem}")
    rows = read(tmp_path / output)
    good = [row for row in rows if not row.get("error")]
    assert [float(row["probability"]) for row in good] == pytest.approx([0.04, 0.04])
    assert len(rows) - len(good) == len(problems)
    assert f"{len(problems)} bad" in result.stderr


def test_many_bad_rows_are_not_all_shown(trident, tmp_path):
    write(tmp_path / "in.csv", [{"sentence": " "}] * 100)
    result = trident("cola", "-i", "in.csv", "-o", "out.csv")
    assert (result.exit_code, result.stderr.count("row ")) == (1, 20)
    assert "100 bad" in result.stderr
    assert len(read(tmp_path / "out.csv")) == 100


def test_what_was_cut_is_told_with_its_rows(trident, tmp_path):
    write(tmp_path / "in.csv", [{"sentence": "a"}, {"sentence": " "}, {"sentence": "long" * 300}])
    assert "longer than the model takes, and cut: rows 3" in trident("cola", "-i", "in.csv", "-o", "out.csv").stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cola", "--input", "none.csv"], "none.csv cannot be read: No such file"),
        (["cola", "--input", "in.xlsx"], "in.xlsx ends in none of .csv, .tsv"),
        (["cola", "--input", "in.csv", "--output", "out.doc"], "out.doc ends in none of"),
        (["cola", "--input", "in.csv", "--output", "in.csv"], "--output would overwrite --input"),
        (["cola", "--input", "in.csv", "--output", "folder.csv"], "--output folder.csv is a folder"),
        (["cola", "--input", "twice.csv"], "there is more than one column 'sentence'"),
        (["cola", "--input", "in.csv", "--output", "no/out.csv"], "cannot be written: No such file"),
        (["cola", "--input", "in.csv", "text"], "as arguments or with --input, not both"),
        (["cola", "--resume", "text"], "--resume goes on with files"),
        (["cola", "--input", "in.csv", "--columns", "a,b"], "--columns takes 1: sentence"),
        (["cola", "--input", "in.csv", "--columns", "no"], "there is no column no; there are sentence, n"),
        (["sts", "--input", "in.csv"], "there is no column sentence_1 or sentence1; there are sentence, n"),
        (["sts", "one"], "two by two; 1 were given"),
        (["cola", "--input", "broken.json"], "the file is broken behind row 1"),
        (["cola", "--input", "scalar.json"], "an object that holds one list"),
        (["cola", "--input", "in.csv", "--format", "parquet"], "the file is not Parquet"),
    ],
)
def test_a_wrong_option_or_file_is_status_2_and_says_what_is_accepted(trident, tmp_path, arguments, message):
    write(tmp_path / "in.csv", [{"sentence": "a", "n": "1"}])
    (tmp_path / "in.xlsx").write_bytes(b"x")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "twice.csv").write_text("sentence,sentence\na,b\n")
    (tmp_path / "broken.json").write_text('[{"sentence": "a"}, {"sentence": ')
    (tmp_path / "scalar.json").write_text('{"a": 1}')
    result = trident(*arguments)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert message in result.stderr


def test_a_model_of_another_task_is_status_2_and_says_which_are_of_this(trident, transport):
    described = {name: {"parameters": {"task": {"string_value": name[:3]}}} for name in ("sts", "sts_ko", "qa")}
    transport.configurations = described | {"sts_ko_embedding": {"output": []}}
    for command in (["cola", "a"], ["qa", "a", "b"]):
        result = trident(*command, "--model", "sts_ko")
        assert result.exit_code == 2
        assert f"--model sts_ko is not for {command[0]}; accepted are" in result.stderr
    assert trident("embed", "a", "--model", "sts_ko").exit_code == 0
    assert transport.requests[-1].model == "sts_ko_embedding"


def test_at_a_terminal_texts_are_asked_for(trident, terminal, monkeypatch):
    from trident_client.cli import answering, failures, tasks

    with pytest.raises(failures.UsageError, match="give texts as arguments"):
        answering._standard_input(None, tasks.cola("cola"))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TransportError("away"), 3),
        (OverloadedError("full"), 3),
        (ReadTimeoutError("late"), 4),
        (ServerError("broken"), 5),
        (BadInputError("bad"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_every_failure_has_its_exit_code(trident, transport, error, code):
    def fail(request):
        raise error

    transport._answer = fail
    result = trident("cola", "text")
    assert result.exit_code == code
    assert result.stderr.count("\n") == 1


def test_a_full_disk_is_said_in_a_line(trident, tmp_path, monkeypatch):
    write(tmp_path / "in.csv", [{"sentence": "a"}])

    def fail(self, result, problem):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Journal, "add", fail)
    done = trident("cola", "-i", "in.csv", "-o", "out.csv")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "out.csv failed: No space left on device; --resume goes on" in done.stderr


def test_an_empty_file_has_no_answers(trident, tmp_path):
    for name in ("in.csv", "in.jsonl"):
        (tmp_path / name).write_bytes(b"")
        assert trident("cola", "-i", name, "-o", "out.json").exit_code == 0
        assert read(tmp_path / "out.json") == []


def test_a_broken_run_leaves_no_output_and_says_how_to_go_on(trident, transport, tmp_path):
    write(tmp_path / "in.csv", [{"sentence": "a"}])

    def fail(request):
        raise ServerError("broken")

    transport._answer = fail
    result = trident("cola", "-i", "in.csv", "-o", "out.csv")
    assert result.exit_code == 5
    assert "--resume goes on" in result.stderr
    assert not (tmp_path / "out.csv").exists()


def test_arguments_are_utf8_whatever_the_locale_takes_them_for():
    assert answering._as_utf8("고양이".encode().decode("ascii", "surrogateescape")) == "고양이"
    assert answering._as_utf8("고양이") == "고양이"
    # No UTF-8, which the client says then.
    assert answering._as_utf8("\udcff") == "\udcff"


BY_A_FAKE = """
import sys

sys.path.insert(0, sys.argv.pop(1))
from conftest import answer
from trident_client import FakeTransport, TridentClient
from trident_client.cli import answering, app

answering.make_client = lambda *_: TridentClient(transport=FakeTransport(answer))
app.app()
"""


@pytest.mark.parametrize("given", ["arguments", "standard input", "a file"])
def test_text_is_utf8_in_a_locale_of_ascii_alone(tmp_path, given):
    (tmp_path / "in.csv").write_text("sentence\n고양이\n", "utf-8")
    arguments = {"arguments": ["고양이"], "standard input": [], "a file": ["-i", "in.csv"]}[given]
    ascii_alone = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", BY_A_FAKE, Path(__file__).parent, "cola", *arguments],
        input="고양이\n".encode(),
        capture_output=True,
        cwd=tmp_path,
        env=os.environ | ascii_alone,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert lines(done.stdout.decode()) == [{"sentence": "고양이", "probability": 0.09}]


def test_what_the_vocabulary_cannot_read_is_told_with_the_rows(trident, tmp_path):
    write(tmp_path / "in.jsonl", [{"sentence": each} for each in ("Fine.", "Fine 👍.", "Good.", "👍 Good.")])
    result = trident("cola", "--input", str(tmp_path / "in.jsonl"))
    assert "vocabulary cannot read: rows 2, 4" in result.stderr
    assert len(lines(result.stdout)) == 4


def test_the_version_is_told(trident):
    assert re.fullmatch(r"trident \d+\.\d+\S*\n", trident("--version").stdout)
