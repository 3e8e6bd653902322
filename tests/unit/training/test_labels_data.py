"""Labels of somebody's own: their files, what is refused, and the metrics that models are chosen by."""

import json
import random

import numpy as np
import pytest
from fine_tuned import LEARN, run
from trident_training.classification.data import texts_of
from trident_training.data.problems import DataError
from trident_training.tasks.classify.metrics import label_metrics
from trident_training.tasks.classify.task import TASK as CLASSIFY
from trident_training.tasks.classify.task import TextOptions
from trident_training.tasks.rerank.metrics import ranking_metrics
from trident_training.tasks.rerank.task import TASK as RERANK
from trident_training.tasks.rerank.task import QueryOptions


def rows_of(task, file, **options):
    return task.rows(str(file), 0.0, 0, task.data(**options))


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("a.csv", "text,label\nOne text.,Good\nTwo.,bad\n", {}),
        ("a.csv", "\ufeffText;Label\nOne text.;Good\nTwo.;bad\n", {"delimiter": ";"}),
        ("a.csv", "mail,kind\nOne text.,Good\nTwo.,bad\n", {"text_column": "mail", "label_column": "kind"}),
        ("a.tsv", "One text.\tGood\nTwo.\tbad\n", {}),
        ("a.jsonl", '{"text": "One text.", "label": "Good"}\n{"text": "Two.", "label": "bad"}\n', {}),
        ("a.json", json.dumps([{"text": "One text.", "label": "Good"}, {"text": "Two.", "label": "bad"}]), {}),
    ],
)
def test_labels_are_the_words_that_a_file_has(tmp_path, name, content, options):
    (tmp_path / name).write_text(content)
    rows = rows_of(CLASSIFY, tmp_path / name, **options)
    assert [(row["sentence"], row["label"]) for row in rows] == [("One text.", ["Good"]), ("Two.", ["bad"])]
    assert texts_of(rows) == ["One text.", "Two."]


def test_a_second_text_is_read_where_there_is_one(tmp_path):
    (tmp_path / "a.csv").write_text("premise,hypothesis,label\nOne.,Two.,yes\nThree.,,no\n")
    rows = rows_of(CLASSIFY, tmp_path / "a.csv", text_column="premise", text_pair_column="hypothesis")
    assert texts_of(rows) == [("One.", "Two."), "Three."]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "text,label\nOne.,a; b\nTwo.,\nThree.,b\n"),
        (
            "a.jsonl",
            '{"text": "One.", "label": ["b", "a"]}\n{"text": "Two.", "label": []}\n'
            '{"text": "Three.", "label": ["b"]}\n',
        ),
    ],
)
def test_a_text_has_several_labels_where_they_are_parted(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    rows = rows_of(CLASSIFY, tmp_path / name, label_separator=";")
    assert list(rows["label"]) == [["a", "b"], [], ["b"]]
    data = CLASSIFY.load(TextOptions(data=str(tmp_path / name), label_separator=";", validation_fraction=0.1))
    assert data.several
    assert CLASSIFY.target(["b"], data) == [float(each == "b") for each in data.labels.values()]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("text,label\nOne.,a\nTwo.,\n", "row 2: the label is '';"),
        ("text,label\n ,a\nTwo.,b\n", "row 1: the text is ' '; text is accepted"),
        ("mail,label\nOne.,a\n", "no column text among mail, label; text and label are needed"),
    ],
)
def test_what_is_no_labelled_text_is_named(tmp_path, content, told):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(DataError, match=told):
        rows_of(CLASSIFY, tmp_path / "a.csv")


def test_data_of_one_label_teaches_nothing(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"Text {place}.,a\n" for place in range(20)))
    with pytest.raises(DataError, match="every text has the label a; two or more are needed"):
        CLASSIFY.check(CLASSIFY.load(TextOptions(data=str(tmp_path / "a.csv"))))


def test_every_label_is_on_both_sides_and_a_pair_is_on_one(tmp_path):
    lines = [f"Text {place % 90}.,Pair.,{'abc'[place % 30 % 3] if place % 30 else 'rare'}\n" for place in range(180)]
    (tmp_path / "a.csv").write_text("text,text_pair,label\n" + "".join(lines))
    for seed in range(4):
        data = CLASSIFY.load(TextOptions(data=str(tmp_path / "a.csv"), split_seed=seed))
        sides = [data.splits[split] for split in ("train", "validation")]
        assert [{name for label in side["label"] for name in label} for side in sides] == [{"a", "b", "c", "rare"}] * 2
        assert not set(texts_of(sides[0])) & set(texts_of(sides[1]))
        assert [*data.labels.values()] == ["a", "b", "c", "rare"]


@pytest.mark.parametrize("separator", [None, ";"])
def test_a_label_that_there_is_once_is_learned_from_whatever_chance_says(tmp_path, separator):
    lines = [f"Text {place}.,{'once' if not place else 'abc'[place % 3]}\n" for place in range(20)]
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(lines))
    for seed in range(30):
        options = {"label_separator": separator, "split_seed": seed}
        splits = CLASSIFY.load(TextOptions(data=str(tmp_path / "a.csv"), **options)).splits
        assert ["once"] in splits["train"]["label"]
        assert {label for each in splits["validation"]["label"] for label in each} == {"a", "b", "c"}


def test_each_of_several_labels_is_on_both_sides_whatever_stands_beside_it(tmp_path):
    # No two texts have the same ones: of combinations, none is there twice.
    names = [f"own {place};{'rare' if place % 8 == 0 else 'other'}" for place in range(40)]
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"Text {n}.,{each}\n" for n, each in enumerate(names)))
    for seed in range(30):
        options = TextOptions(data=str(tmp_path / "a.csv"), label_separator=";", split_seed=seed)
        splits = CLASSIFY.load(options).splits
        assert len(splits["validation"]) == 4
        for rows in splits.values():
            assert {"rare", "other"} <= {label for row in rows["label"] for label in row}


def test_both_sides_have_a_query_with_texts_of_both_kinds(tmp_path):
    # Three of thirty queries have some of both, the others those alone that belong to them, or that do not.
    lines = [f"Query {n},Text {n} {each},{each if n < 3 else n % 2}\n" for n in range(30) for each in (0, 1)]
    (tmp_path / "a.csv").write_text("query,text,label\n" + "".join(lines))
    for seed in range(20):
        data = RERANK.load(QueryOptions(data=str(tmp_path / "a.csv"), split_seed=seed))
        RERANK.check(data)
        assert {0, 1} == set(data.splits["validation"]["label"])


def test_macro_f1_counts_every_label_alike():
    found = label_metrics([{"a"}, {"a"}, {"a"}, {"b"}], [{"a"}, {"a"}, {"b"}, {"b"}])
    assert found["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert (found["accuracy"], found["largest_share"]) == (0.75, 0.75)
    several = label_metrics([{"a", "b"}, set()], [{"a"}, set()])
    assert (several["macro_f1"], several["accuracy"]) == (0.5, 0.5)


def test_a_query_is_on_one_side_with_all_its_texts(tmp_path):
    lines = [f"Query {query},Text {query} {place}.,{int(place == 0)}\n" for query in range(40) for place in range(3)]
    (tmp_path / "a.csv").write_text("query,text,label\n" + "".join(lines))
    data = RERANK.load(QueryOptions(data=str(tmp_path / "a.csv")))
    train, validation = ({*data.splits[split]["sentence"]} for split in ("train", "validation"))
    assert (len(train), len(validation), train & validation) == (36, 4, set())
    assert len(data.splits["validation"]) == 12
    RERANK.check(data)
    (tmp_path / "b.csv").write_text(
        "query,text,label\n" + "".join(f"Query {each},Text.,{each % 2}\n" for each in range(40))
    )
    with pytest.raises(DataError, match="no query has texts that belong to it and texts that do not"):
        RERANK.check(RERANK.load(QueryOptions(data=str(tmp_path / "b.csv"))))


def test_a_pair_lacks_no_text(tmp_path):
    (tmp_path / "a.csv").write_text("query,passage,relevant\nOne?,,yes\n")
    options = {"text_column": "passage", "label_column": "relevant", "label_map": "yes=1"}
    with pytest.raises(DataError, match="row 1: the passage is ''; text is accepted"):
        rows_of(RERANK, tmp_path / "a.csv", **options)


def test_the_mean_reciprocal_rank_is_of_the_first_right_text_and_ties_count_against_it():
    queries = ["a"] * 3 + ["b"] * 2 + ["c"] * 2 + ["d"]
    relevant = [0, 1, 1, 1, 0, 0, 1, 1]
    scores = np.array([0.9, 0.5, 0.4, 0.7, 0.7, 0.1, 0.8, 0.9])
    # The last query has nothing to be put in order.
    assert ranking_metrics(queries, relevant, scores)["mean_reciprocal_rank"] == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)


@pytest.mark.slow
def test_several_labels_are_learned_each_by_itself_and_the_checkpoint_says_so(tmp_path, tiny_checkpoint):
    rng = random.Random(3)
    rows = [[word for word in ("dog", "cat") if rng.random() < 0.5] for _ in range(240)]
    texts = (" ".join([*rng.sample(("the", "runs", "sings", "today"), 3), *labels]) for labels in rows)
    lines = [f"{text},{'|'.join(labels)}\n" for text, labels in zip(texts, rows, strict=True)]
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(lines))
    data = ["--data", tmp_path / "a.csv", "--label-separator", "|"]
    command = ["finetune", "classify", "--model", tiny_checkpoint("bert"), *data, *LEARN, "--output", tmp_path]
    smoothed = run(*command, "--label-smoothing", 0.1, code=1)
    assert "label_smoothing 0.1 is not for texts with several labels; 0 is" in smoothed
    run(*command, "--epochs", 10)
    assert json.loads((tmp_path / "best" / "config.json").read_text())["problem_type"] == "multi_label_classification"
    assert CLASSIFY.metadata(tmp_path / "best") == {"labels": '["cat", "dog"]', "threshold": 0.5}
    predictor = CLASSIFY.predictor(str(tmp_path / "best"), 40, None)
    rows = rows_of(CLASSIFY, tmp_path / "a.csv", label_separator="|")
    # The same for every text would be right for a quarter of them.
    assert CLASSIFY.score(predictor, rows, None)["accuracy"] > 0.4
    assert predictor.predict(rows).scores.sum(axis=1).max() > 1.2
