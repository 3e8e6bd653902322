"""Loading of CoLA in each of its forms, and what is said of data that cannot be used."""

import functools
import json
import os
import re
from pathlib import Path

import datasets
import pytest
from datasets import Dataset
from trident_training.classification.data import load_labelled, load_rows
from trident_training.data import reading
from trident_training.data.problems import DataError
from trident_training.tasks.cola.task import TASK, AcceptabilityOptions

ROWS = [
    ("ks08", 1, 'She said "no", twice.'),
    ("ks08", 0, "Him saw I the NA."),
    ("r-67", 1, "고양이가 잔다 🐟 e\u0301."),
    ("", 0, "null"),
]

load_cola = functools.partial(load_labelled, labels=TASK.labels)
load_rows = functools.partial(load_rows, labels=TASK.labels)


def write(folder: Path, name: str, rows=ROWS) -> Path:
    file = folder / name
    if file.suffix == ".tsv":
        file.write_text("".join(f"{source}\t{label}\t\t{text}\n" for source, label, text in rows), "utf-8")
    elif file.suffix == ".parquet":
        Dataset.from_list(records(rows)).to_parquet(str(file))
    elif file.suffix == ".csv":
        Dataset.from_list(records(rows)).to_csv(str(file), index=False)
    else:
        file.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in records(rows)), "utf-8")
    return file


def records(rows):
    return [{"sentence": text, "label": label, "source": source} for source, label, text in rows]


@pytest.mark.parametrize("ending", ["tsv", "csv", "jsonl", "parquet"])
def test_every_form_gives_the_same_rows(tmp_path, ending):
    rows = load_rows(str(write(tmp_path, f"train.{ending}")))
    assert rows["sentence"] == [text for _, _, text in ROWS]
    assert rows["label"] == [label for _, label, _ in ROWS]
    assert rows["source"] == [source for source, _, _ in ROWS]


def test_a_header_line_is_told_from_a_row(tmp_path):
    (tmp_path / "train.tsv").write_text("sentence\tlabel\nIt works.\t1\n", "utf-8")
    assert load_rows(str(tmp_path / "train.tsv"))["sentence"] == ["It works."]


def test_a_validation_set_is_carved_off_and_the_sources_own_is_kept_for_the_report(tmp_path):
    train = [("a", i % 2, f"Sentence number {i // 2}.") for i in range(200)]
    write(tmp_path, "train.tsv", train)
    write(tmp_path, "dev.tsv", [("a", 1, "Held out.")])
    data = load_cola(str(tmp_path), validation_fraction=0.2, seed=3)
    sizes = {split: len(rows) for split, rows in data.splits.items()}
    assert sizes == {"train": 160, "validation": 40, "test": 1}
    # A sentence that stands there twice is on one side.
    assert not set(data.splits["train"]["sentence"]) & set(data.splits["validation"]["sentence"])
    assert data.digest("validation") == load_cola(str(tmp_path), validation_fraction=0.2, seed=3).digest("validation")
    assert data.digest("validation") != load_cola(str(tmp_path), validation_fraction=0.2, seed=4).digest("validation")
    own = load_cola(str(tmp_path), validation_fraction=0)
    assert (len(own.splits["train"]), own.splits["validation"]["sentence"]) == (200, ["Held out."])


def test_a_sentence_of_the_validation_set_is_left_out_of_the_train_set_and_reported(tmp_path):
    write(tmp_path, "train.tsv", [("a", 1, "Both."), ("a", 1, "Only here."), ("a", 1, "Here too.")])
    write(tmp_path, "dev.tsv", [("a", 0, "Other."), ("a", 1, "Both.")])
    data = load_cola(str(tmp_path), validation_fraction=0)
    assert data.splits["train"]["sentence"] == ["Only here.", "Here too."]
    assert data.notes == [f"{tmp_path}/train.tsv, row 1: left out, for it is also row 2 of {tmp_path}/dev.tsv"]


@pytest.mark.parametrize(
    ("train", "fraction", "says"),
    [
        (["Only."], 0.1, "1 different sentence(s) to learn from; 2 or more are accepted"),
        (["Twice."] * 2, 0.1, "1 different sentence(s) to learn from; 2 or more are accepted"),
        (["Held out."] * 2, 0.1, "0 different sentence(s) to learn from; 2 or more are accepted"),
        (["Held out."], 0, "0 different sentence(s) to learn from; 1 or more are accepted"),
    ],
)
def test_too_few_sentences_to_learn_from_are_refused(tmp_path, train, fraction, says):
    write(tmp_path, "train.tsv", [("a", 1, text) for text in train])
    write(tmp_path, "dev.tsv", [("a", 1, "Held out.")])
    with pytest.raises(DataError, match=re.escape(f"{tmp_path}: {says}")):
        load_cola(str(tmp_path), validation_fraction=fraction)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("train.tsv", "a\t1\t\tFine.\na\t2\t\tBad label.\n", ["row 2", "'2'", "0 (unacceptable)"]),
        ("train.tsv", "a\t1\t\tFine.\na\t1\tThree columns.\n", ["row 2", "3 column(s); 4"]),
        ("train.tsv", "a\t1\t\t \n", ["row 1", "the sentence is ' '"]),
        ("train.tsv", "a\t1\t\t\u200b\n", ["row 1", "the sentence is '\\u200b'"]),
        ("train.csv", "sentence,label\nFine.,\n", ["row 1", "the label is ''"]),
        ("train.csv", "text,label\nFine.,1\n", ["no column sentence", "text, label"]),
        ("train.csv", "sentence,label\n", ["no rows"]),
        ("train.csv", "", ["empty"]),
        ("train.csv", "sentence,label\nFine.,1,2\n", ["row 1", "3 column(s); 2"]),
        ("train.jsonl", '{"sentence": "Fine."\n', ["cannot be read as json"]),
        ("train.jsonl", '{"sentence": 5, "label": 1}\n', ["row 1", "the sentence is 5"]),
        ("train.txt", "Fine.", ["'.txt' is not known", ".parquet"]),
        ("dev.tsv", "a\t1\t\tFine.\n", ["no train file"]),
    ],
)
def test_bad_data_is_named_by_file_row_and_reason(tmp_path, name, content, says):
    file = tmp_path / name
    file.write_text(content, "utf-8")
    with pytest.raises(DataError) as caught:
        load_cola(str(tmp_path) if name.startswith("dev") else str(file))
    for each in [*says, str(tmp_path)]:
        assert each in str(caught.value)


def test_text_that_is_not_utf8_is_named(tmp_path):
    (tmp_path / "train.tsv").write_bytes(b"a\t1\t\tcaf\xe9\n")
    with pytest.raises(DataError, match=r"not UTF-8 at byte 8"):
        load_rows(str(tmp_path / "train.tsv"))


def test_all_bad_rows_are_told_at_once_up_to_a_bound(tmp_path):
    write(tmp_path, "train.tsv", [("a", 7, f"Sentence {i}.") for i in range(50)])
    with pytest.raises(DataError) as caught:
        load_rows(str(tmp_path / "train.tsv"))
    lines = str(caught.value).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "... and 30 more"


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="there is no file or folder"):
        load_cola(str(tmp_path / "nowhere"))
    for name in ("train.tsv", "dev.tsv", "dev.csv"):
        write(tmp_path, name)
    with pytest.raises(DataError, match=r"dev\.tsv and dev\.csv; leave one"):
        load_cola(str(tmp_path))


def test_a_hub_that_fails_without_a_word_is_named(monkeypatch):
    def fails(*arguments):
        raise TimeoutError

    monkeypatch.setattr(reading, "load_dataset", fails)
    with pytest.raises(DataError, match=r"'some/data' is no local file or folder, .*: TimeoutError$"):
        load_cola("some/data")


@pytest.mark.parametrize("fraction", [-0.1, 0.6])
def test_an_impossible_split_is_refused(tmp_path, fraction):
    with pytest.raises(ValueError, match=r"0 to 0\.5 is accepted"):
        load_cola(str(write(tmp_path, "train.tsv")), validation_fraction=fraction)


def test_without_any_validation_set_the_way_out_is_named(tmp_path):
    with pytest.raises(ValueError, match="carve one off"):
        load_cola(str(write(tmp_path, "train.tsv")), validation_fraction=0)


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("a.csv", "sentence,label\nGood one.,1\n\nBad one.,0\n\n", {}),
        ("a.tsv", "x\t1\t\tGood one.\n\nx\t0\t*\tBad one.\n\n", {}),
        ("a.csv", "Label, SENTENCE \n1,Good one.\n0,Bad one.\n", {}),
        ("a.csv", "sentence;label\nGood one.;1\nBad one.;0\n", {"delimiter": ";"}),
        ("a.csv", "review,verdict\nGood one.,1\nBad one.,0\n", {"text_column": "Review", "label_column": "verdict"}),
        ("a.csv", "sentence,label\nGood one.,Yes\nBad one.,no\n", {"label_map": "yes=1, NO=0"}),
        (
            "a.jsonl",
            '{"sentence": "Good one.", "label": true}\n{"sentence": "Bad one.", "label": false}\n',
            {
                "label_map": "true=1,false=0",
            },
        ),
    ],
)
def test_what_people_have_is_taken(tmp_path, name, content, options):
    (tmp_path / name).write_text(content)
    rows = TASK.rows(str(tmp_path / name), 0.0, 0, AcceptabilityOptions(**options))
    assert (rows["sentence"], rows["label"]) == (["Good one.", "Bad one."], [1, 0])


@pytest.mark.parametrize(
    ("content", "option"),
    [
        ("review,verdict\nGood one.,1\n", "--text-column and --label-column"),
        ("sentence;label\nGood one.;1\n", "--delimiter ';'"),
        ("sentence,label\nGood one.,yes\n", "--label-map"),
    ],
)
def test_a_refusal_names_the_option_that_takes_it(tmp_path, content, option):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(DataError, match=option):
        load_rows(str(tmp_path / "a.csv"))


@pytest.mark.parametrize("options", [{"label_map": "yes"}, {"label_map": "yes=2"}, {"delimiter": "||"}])
def test_a_form_that_says_nothing_is_refused(options):
    with pytest.raises(ValueError, match="accepted"):
        AcceptabilityOptions(**options)


def test_a_rare_label_is_on_both_sides(tmp_path):
    file = write(tmp_path, "train.tsv", [("a", int(index > 1), f"Sentence {index}.") for index in range(60)])
    for seed in range(5):
        splits = load_cola(str(file), seed=seed).splits
        assert splits["train"]["label"].count(0) == splits["validation"]["label"].count(0) == 1
        assert len(splits["validation"]) in {6, 7}


def test_a_file_that_changed_and_kept_its_date_is_read_again_and_no_cache_is_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "file" / "none")
    (tmp_path / "file").touch()
    for text in ("One text.", "Two text."):
        for ending in ("csv", "jsonl", "parquet"):
            file = write(tmp_path, f"train.{ending}", [("", 1, text)])
            os.utime(file, (1_700_000_000, 1_700_000_000))
            assert list(load_rows(str(file))["sentence"]) == [text]
