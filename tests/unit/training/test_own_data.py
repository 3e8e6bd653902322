"""The page's table of what is accepted of somebody's own data: every row of it is tried, with the options it names."""

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from trident_training.classification.data import load_labelled
from trident_training.data.problems import DataError
from trident_training.tasks import find_tasks

PAGE = Path(__file__).resolve().parents[3] / "docs" / "train.md"
COLA = [("Good one.", 1, ""), ("Bad one.", 0, "")]
STS = [("a", "b", 4.5, 1), ("c", "d", 3.0, 1)]
CLASSIFY = [("Good one.", "", ["Good"], ""), ("Bad one.", "", ["bad"], "")]
RERANK = [("who", "he", 1, ""), ("who", "it", 0, "")]
CONTEXT = "In 1443, as ever."
QA = [("7", "", "When?", CONTEXT, {"text": ["1443"], "answer_start": [3]})]
IMPOSSIBLE = [("7", "", "When?", CONTEXT, {"text": [], "answer_start": []})]


def question(answer, **more):
    return json.dumps({"data": [{"id": "7", "question": "When?", "context": CONTEXT, "answers": [answer], **more}]})


SQUAD = {
    "data": [
        {
            "paragraphs": [
                {
                    "context": CONTEXT,
                    "qas": [{"id": "7", "question": "When?", "answers": [{"text": "1443", "answer_start": 3}]}],
                }
            ]
        }
    ]
}


def in_utf_16(content):
    return lambda path: path.write_bytes(content.encode("utf-16"))


def as_lines(names, rows):
    return "".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows)


def written_as_bytes(path):
    pq.write_table(pa.table({"sentence": [b"Good one.", b"Bad one."], "label": [1, 0]}), path)


#: By the row's first cell: the task, a file, what it holds or what writes it, the options, and the rows that are read.
TRIALS = {
    "empty lines, a byte-order mark, column names in other case or with spaces": [
        ("cola", "a.csv", "\ufeffLabel, SENTENCE \n\n1,Good one.\n0,Bad one.\n\n", {}, COLA),
        ("sts", "a.csv", "\ufeff Sentence1 ,SENTENCE2,Score\n\na,b,4.5\nc,d,3\n\n", {}, STS),
        ("classify", "a.csv", "\ufeffTEXT, label \nGood one.,Good\n\nBad one.,bad\n", {}, CLASSIFY),
        ("rerank", "a.csv", "\ufeffQuery,text ,LABEL\nwho,he,1\n\nwho,it,0\n", {}, RERANK),
        ("qa", "a.json", "\ufeff" + question({"text": "1443", "answer_start": 3}), {}, QA),
        ("qa", "a.json", question({" Text": "1443", "ANSWER_START": 3}).replace("question", "Question"), {}, QA),
        ("qa", "a.json", json.dumps(SQUAD).replace("paragraphs", "Paragraphs").replace("context", "CONTEXT"), {}, QA),
    ],
    "lines and columns of nothing but what parts columns, as spreadsheets write them": [
        ("cola", "a.csv", "sentence,label,,\nGood one.,1,,\n,,,\nBad one.,0\n,\n", {}, COLA),
        ("sts", "a.csv", 'sentence1,sentence2,score,\na,b,"4,5",\nc,d,3,\n,,,\n', {}, STS),
        ("sts", "a.tsv", "x\tx\tx\tx\t4.5\ta\tb\n\t\t\t\t\t\t\n \nx\tx\tx\tx\t3\tc\td\n", {}, STS),
        ("classify", "a.csv", "text,label,\nGood one.,Good,\n,,\nBad one.,bad,\n", {}, CLASSIFY),
        ("rerank", "a.csv", ",query,text,label\n,who,he,1\n,,,\n,who,it,0\n", {}, RERANK),
    ],
    "UTF-16 that begins with its mark": [
        ("cola", "a.tsv", in_utf_16("sentence\tlabel\nGood one.\t1\nBad one.\t0\n"), {}, COLA),
        (
            "cola",
            "a.jsonl",
            in_utf_16('{"sentence": "Good one.", "label": 1}\n{"sentence": "Bad one.", "label": 0}'),
            {},
            COLA,
        ),
        ("sts", "a.csv", in_utf_16("sentence1,sentence2,score\na,b,4.5\nc,d,3\n"), {}, STS),
        ("qa", "a.json", in_utf_16(question({"text": "1443", "answer_start": 3})), {}, QA),
    ],
    "an object a line, in `.jsonl` or `.json`": [
        *(
            (
                task,
                f"a.{ending}",
                "".join(f"{json.dumps(dict(zip(names, row, strict=True)))}\n" for row in lines),
                {},
                rows,
            )
            for ending in ("json", "jsonl")
            for task, names, lines, rows in (
                ("cola", ("sentence", "label"), [row[:2] for row in COLA], COLA),
                ("sts", ("sentence1", "sentence2", "score"), [row[:3] for row in STS], STS),
                ("classify", ("text", "label"), [("Good one.", "Good"), ("Bad one.", "bad")], CLASSIFY),
                ("rerank", ("query", "text", "label"), [row[:3] for row in RERANK], RERANK),
            )
        ),
        ("sts", "a.json", '{"sentence1": "a", "sentence2": "b", "score": 4.5}\n', {}, STS[:1]),
    ],
    "no header line, in `.tsv`": [
        ("cola", "a.tsv", "x\t1\t\tGood one.\nx\t0\t*\tBad one.\n", {}, [(*row[:2], "x") for row in COLA]),
        ("sts", "a.tsv", "x\tx\tx\tx\t4.5\ta\tb\nx\tx\tx\tx\t3\tc\td\n", {}, STS),
        ("classify", "a.tsv", "Good one.\tGood\nBad one.\tbad\n", {}, CLASSIFY),
        ("rerank", "a.tsv", "who\the\t1\nwho\tit\t0\n", {}, RERANK),
    ],
    "other column names": [
        *(
            (
                task,
                "a.csv",
                f"says,as\nGood one.,{one}\nBad one.,{two}\n",
                {"text_column": "says", "label_column": "as"},
                rows,
            )
            for task, one, two, rows in (("cola", 1, 0, COLA), ("classify", "Good", "bad", CLASSIFY))
        ),
        ("sts", "a.csv", "A,B,x\na,b,4.5\nc,d,3\n", {"text_column": ["A", "B"], "label_column": "x"}, STS),
        (
            "rerank",
            "a.csv",
            "q,d,y\nwho,he,1\nwho,it,0\n",
            {"query_column": "q", "text_column": "d", "label_column": "y"},
            RERANK,
        ),
    ],
    "semicolons or others between columns": [
        ("cola", "a.csv", "sentence;label\nGood one.;1\nBad one.;0\n", {"delimiter": ";"}, COLA),
        ("sts", "a.csv", "sentence1|sentence2|score\na|b|4.5\nc|d|3\n", {"delimiter": "|"}, STS),
        ("cola", "a.csv", "sentence\tlabel\nGood one.\t1\nBad one.\t0\n", {"delimiter": "\t"}, COLA),
        ("classify", "a.csv", "text;label\nGood one.;Good\nBad one.;bad\n", {"delimiter": ";"}, CLASSIFY),
        ("rerank", "a.csv", "query;text;label\nwho;he;1\nwho;it;0\n", {"delimiter": ";"}, RERANK),
    ],
    "labels as words or booleans (cola, rerank)": [
        ("cola", "a.csv", "sentence,label\nGood one.,Yes\nBad one.,no\n", {"label_map": "yes=1,no=0"}, COLA),
        (
            "rerank",
            "a.jsonl",
            '{"query": "who", "text": "he", "label": true}\n{"query": "who", "text": "it", "label": false}\n',
            {"label_map": "true=1,false=0"},
            RERANK,
        ),
    ],
    "labels of your own, as words (classify)": [
        ("classify", "a.csv", "text,label\nGood one.,Good\nBad one.,bad\n", {}, CLASSIFY),
        (
            "classify",
            "a.csv",
            "text,label\nGood one.,b; a\nBad one.,\n",
            {"label_separator": ";"},
            [("Good one.", "", ["a", "b"], ""), ("Bad one.", "", [], "")],
        ),
    ],
    "two texts with one label (classify)": [
        ("classify", "a.csv", "text,text_pair,label\none,two,x\n", {}, [("one", "two", ["x"], "")]),
        ("classify", "a.csv", "text,b,label\none,two,x\n", {"text_pair_column": "b"}, [("one", "two", ["x"], "")]),
    ],
    "decimal commas (sts)": [
        ("sts", "a.tsv", "sentence1\tsentence2\tscore\na\tb\t4,5\nc\td\t3\n", {}, STS),
    ],
    "scores that do not end at 5 (sts)": [
        ("sts", "a.csv", "sentence1,sentence2,score\na,b,0.9\nc,d,0.6\n", {"scale": [1.0]}, STS),
        ("sts", "a.csv", "sentence1,sentence2,score\na,b,90\nc,d,60\n", {"scale": [100.0]}, STS),
    ],
    "Parquet whose text is not declared as text": [("cola", "a.parquet", written_as_bytes, {}, COLA)],
    "`answer_start` as text, with a point or null; `text` as a number; `is_impossible` as text (qa)": [
        ("qa", "a.json", question({"text": 1443, "answer_start": "3"}), {}, QA),
        ("qa", "a.json", question({"text": "1443", "answer_start": 3.0}, is_impossible="false"), {}, QA),
        ("qa", "a.json", question({"text": "1443", "answer_start": None}), {}, QA),
        ("qa", "a.json", question({"text": "1443", "answer_start": 3}, is_impossible="true"), {}, IMPOSSIBLE),
    ],
}
#: Rows of what is done, for which other tests stand below.
DONE = {"a rare label, also one of several; a question without an answer (qa)"}


def table():
    """Return the table's rows, by their first cell."""
    section = PAGE.read_text("utf-8").partition("\n## Your own data\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in section.splitlines() if line[:2] == "| "]
    return {first: rest for first, *rest in rows[1:]}


def test_the_table_has_the_rows_that_are_tried_and_names_their_options():
    rows = table()
    assert set(rows) == {*TRIALS, *DONE}
    for cell, trials in TRIALS.items():
        named = set(re.findall(r"--([a-z-]+)", rows[cell][1])) - {"data"}
        assert named == {option.replace("_", "-") for *_, options, _ in trials for option in options}, cell


@pytest.mark.parametrize(
    ("task", "name", "content", "options", "expected"),
    [pytest.param(*trial, id=f"{trial[0]}: {cell}") for cell, trials in TRIALS.items() for trial in trials],
)
def test_what_the_table_says_is_taken(tmp_path, task, name, content, options, expected):
    if callable(content):
        content(tmp_path / name)
    else:
        (tmp_path / name).write_text(content, "utf-8")
    found = find_tasks()[task]
    rows = (
        found.rows(str(tmp_path / name), 0.0, 0, found.data(**options))
        if options
        else found.rows(str(tmp_path / name), 0.0, 0)
    )
    columns = rows.column_names
    read = [tuple(row[column] for column in columns) for row in rows]
    assert read == [tuple(pytest.approx(each) if isinstance(each, float) else each for each in row) for row in expected]


@pytest.mark.parametrize(
    ("task", "name", "content", "told"),
    [
        # What parts the columns, whatever else stands in the rows.
        ("cola", "a.csv", "sentence;label\nWell, good.;1\n", "parted by semicolons; .*--delimiter ';'"),
        ("cola", "a.csv", "sentence\tlabel\nGood.\t1\n", r"parted by tabulators; .*--delimiter \$'\\t'"),
        ("cola", "a.csv", "sentence|label\nGood.|1\n", r"parted by vertical bars; .*--delimiter '\|'"),
        ("cola", "a.csv", "sentence;label;a,b\nGood.;1;x\n", "parted by semicolons; .*--delimiter ';'"),
        ("cola", "a.tsv", "sentence,label\nGood.,1\n", "parted by commas; .*--delimiter ','"),
        ("sts", "a.csv", "sentence1;sentence2;score\na;b;4,5\n", "parted by semicolons; .*--delimiter ';'"),
        ("classify", "a.csv", "text;label\nWell, good.;x\n", "parted by semicolons; .*--delimiter ';'"),
        ("rerank", "a.tsv", "query;text;label\na;b;1\n", "parted by semicolons; .*--delimiter ';'"),
        ("cola", "a.csv", "sentence,label\nWell, good.,1\n", "row 1: 3 column.*2 are accepted; a text with ',' in it"),
        ("cola", "a.csv", "sentence,label,\nWell, good.,1\n", "row 1: 3 column.*2 are accepted; a text with ',' in it"),
        # A header with other names.
        (
            "cola",
            "a.tsv",
            "review\tverdict\nGood.\t1\n",
            "--text-column and --label-column; .*source, label, mark",
        ),
        ("cola", "a.tsv", "id\tkind\tnote\twords\n1\t1\t\tGood.\n", "no column sentence or label among id, kind"),
        (
            "classify",
            "a.tsv",
            "review\tcategory\nGood.\tx\nBad.\ty\n",
            "--text-column and --label-column; .*text, label",
        ),
        ("classify", "a.tsv", "text\tcategory\nGood.\tx\nBad.\ty\n", "no column label among text, category"),
        (
            "rerank",
            "a.tsv",
            "q\td\ty\nwho\the\t1\n",
            "--query-column, --text-column and .*query, text, label",
        ),
        ("rerank", "a.csv", "q,d,y\nwho,he,1\n", "--query-column"),
        ("sts", "a.tsv", "A\tB\tC\na\tb\t1\n", "--text-column, twice, and --label-column"),
        # What shows nothing.
        *(
            (
                "qa",
                "a.json",
                json.dumps([{"question": question, "context": context, "answers": []}]),
                rf"{column} of id 1 is '.*'; text with a visible character is accepted",
            )
            for column, question, context in (("question", "\u200b", "Here."), ("context", "Where?", "\ufeff \u200b"))
        ),
        # What is no text.
        *(
            (task, f"a.{ending}", content, told)
            for task, ending in (("cola", "csv"), ("cola", "json"), ("sts", "tsv"), ("sts", "json"), ("qa", "json"))
            for content, told in (
                ("", "the file is empty"),
                (" \n", "the file is empty"),
                (
                    lambda path: path.write_bytes("sentence".encode("utf-16-le")),
                    "zero bytes; UTF-8 is accepted",
                ),
                (lambda path: path.write_bytes(b"caf\xe9"), "not UTF-8 at byte 3; UTF-8 is accepted, and UTF-16"),
                (lambda path: path.write_bytes(b"\xff\xfea\0b"), "not UTF-16 at byte 4; UTF-8 is accepted, and"),
            )
        ),
    ],
)
def test_a_refusal_says_what_is_accepted_and_names_the_option(tmp_path, task, name, content, told):
    if callable(content):
        content(tmp_path / name)
    else:
        (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(DataError, match=told) as caught:
        find_tasks()[task].rows(str(tmp_path / name), 0.0, 0)
    assert str(tmp_path / name) in str(caught.value)


def test_scores_of_0_to_1_are_refused_where_no_scale_is_named(tmp_path):
    (tmp_path / "a.csv").write_text("sentence1,sentence2,score\na,b,0.9\nc,d,0.6\n")
    task, source = find_tasks()["sts"], str(tmp_path / "a.csv")
    for load in (lambda: task.load(task.data(data=[source])), lambda: task.rows(source, 0.0, 0)):
        with pytest.raises(DataError, match="--scale 1 "):
            load()


def test_a_rare_label_is_on_both_sides_of_what_is_carved_off(tmp_path):
    (tmp_path / "a.tsv").write_text("".join(f"x\t{int(row > 1)}\t\tSentence {row}.\n" for row in range(60)))
    splits = load_labelled(str(tmp_path / "a.tsv"), {0: "bad", 1: "good"}).splits
    assert [splits[split]["label"].count(0) for split in ("train", "validation")] == [1, 1]
