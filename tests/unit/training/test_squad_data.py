"""Questions in SQuAD's form: where their answers stand, and what is said of those that stand nowhere."""

import json

import pytest
from trident_training.data.problems import DataError
from trident_training.tasks.qa.data import EXACT, MOVED, UNFOUND, align, load_questions, load_rows

CONTEXT = "Seoul is the capital. 서울은 🇰🇷 수도이다. Seoul is large."


def article(title, *questions, context=None):
    context = context or f"{CONTEXT} {title}"
    qas = [{"id": f"{title}-{i}", "question": f"Question {i}?", **each} for i, each in enumerate(questions)]
    return {"title": title, "paragraphs": [{"context": context, "qas": qas}]}


def answer(text, start):
    return {"answers": [{"text": text, "answer_start": start}]}


def write(file, *articles):
    file.write_text(json.dumps({"version": "1.1", "data": list(articles)}))
    return str(file)


@pytest.mark.parametrize(
    ("text", "start", "expected", "how"),
    [
        ("Seoul", 0, 0, EXACT),
        ("서울은", CONTEXT.index("서울은"), CONTEXT.index("서울은"), EXACT),
        ("Seoul", 40, CONTEXT.rindex("Seoul"), MOVED),
        ("Seoul", 3, 0, MOVED),
        (" capital ", 12, 13, MOVED),
        ("capitol", 13, None, UNFOUND),
        # Decomposed Hangul, as some files have it.
        ("\u1109\u1165\u110b\u116e\u11af", 5, CONTEXT.index("서울"), MOVED),
    ],
)
def test_an_answer_is_found_where_it_stands(text, start, expected, how):
    found = align(CONTEXT, text, start)
    assert (found.start, found.how) == (expected, how)
    if expected is not None:
        assert CONTEXT[expected : expected + len(found.text)] == found.text


def test_answers_are_checked_counted_and_told(tmp_path):
    file = write(
        tmp_path / "train.json",
        article(
            "a", answer("Seoul", 0), answer("Seoul", 40), answer("nowhere", 2), {"answers": [], "is_impossible": True}
        ),
        article("b", answer("capital", 13)),
    )
    data = load_questions([file], validation_fraction=0.2)
    assert dict(data.offsets) == {EXACT: 2, MOVED: 1, UNFOUND: 1}
    assert data.notes[1] == f"{file}, id a-2: 'nowhere' at 2: {UNFOUND}"
    rows = [row for split in data.splits.values() for row in split]
    assert sorted(row["id"] for row in rows) == ["a-0", "a-1", "a-3", "b-0"]
    for row in rows:
        for text, start in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True):
            assert row["context"][start : start + len(text)] == text


def test_whole_articles_are_carved_off(tmp_path):
    articles = [article(f"title {n}", *[answer("Seoul", 0)] * 5) for n in range(20)]
    data = load_questions([write(tmp_path / "train.json", *articles)], validation_fraction=0.25, seed=1)
    train, validation = ({row["title"] for row in data.splits[split]} for split in ("train", "validation"))
    assert not train & validation
    assert (len(train), len(validation)) == (15, 5)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("sizes", "fraction", "carved"),
    [
        ([110, 10], 0.05, 10),
        ([60, 60], 0.05, 60),
        ([40, 30, 30], 0.05, 30),
        ([90, 5, 5], 0.1, 10),
        ([1, 1], 0.05, 1),
    ],
)
def test_what_is_carved_off_is_as_near_to_the_fraction_as_articles_are(tmp_path, sizes, fraction, carved, seed):
    articles = [article(f"title {n}", *[answer("Seoul", 0)] * size) for n, size in enumerate(sizes)]
    file = write(tmp_path / "train.json", *articles)
    assert len(load_questions([file], validation_fraction=fraction, seed=seed).splits["validation"]) == carved


@pytest.mark.parametrize("seed", range(4))
def test_articles_that_share_a_context_stay_on_one_side(tmp_path, seed):
    shared = [article(title, answer("Seoul", 0), context=f"{CONTEXT} {n // 2}") for n, title in enumerate("abcdefgh")]
    # Two contexts of one article, the second of which is another's as well.
    shared[1]["paragraphs"] += shared[2]["paragraphs"]
    splits = load_questions([write(tmp_path / "train.json", *shared)], validation_fraction=0.3, seed=seed).splits
    assert len(splits["train"])
    for column in ("title", "context"):
        assert not set(splits["train"][column]) & set(splits["validation"][column])


def test_what_cannot_be_parted_is_refused(tmp_path):
    file = write(tmp_path / "train.json", article("a", *[answer("Seoul", 0)] * 9))
    for load in (lambda: load_questions([file]), lambda: load_rows(file, validation_fraction=0.1)):
        with pytest.raises(DataError, match="two or more articles that share no context are accepted") as caught:
            load()
        assert file in str(caught.value)


def test_a_train_set_of_which_nothing_can_be_pinned_down_is_refused(tmp_path):
    file = write(tmp_path / "train.json", *(article(title, answer("Seoul", 0)) for title in "abcd"))
    with pytest.raises(DataError, match="no answer's text stands just once in its context"):
        load_questions([file], unambiguous=True)


def test_what_cannot_be_pinned_down_can_be_left_out_of_the_train_set(tmp_path):
    file = write(tmp_path / "train.json", *(article(str(n), answer("Seoul", 0), answer("large", 48)) for n in range(9)))
    assert len(load_questions([file], validation_fraction=0.5, unambiguous=True).splits["train"]) == 4


def test_fewer_questions_can_be_learned_from_and_what_is_carved_off_stays_the_same(tmp_path):
    file = write(tmp_path / "train.json", *(article(str(n), answer("Seoul", 0), answer("large", 48)) for n in range(9)))
    all_of_it = load_questions([file], validation_fraction=0.4)
    fewer = load_questions([file], validation_fraction=0.4, most_questions=3)
    assert len(fewer.splits["train"]) == 3
    assert fewer.digest("validation") == all_of_it.digest("validation")
    assert load_rows(file, validation_fraction=0.4).to_list() == all_of_it.splits["validation"].to_list()
    assert len(load_rows(file)) == 18


def test_a_folders_own_validation_set_is_kept_for_the_report(tmp_path):
    write(tmp_path / "train-v1.json", article("a", answer("Seoul", 0)), article("b", answer("Seoul", 0)))
    write(tmp_path / "dev-v1.json", article("c", answer("capital", 13)))
    assert set(load_questions([str(tmp_path)], validation_fraction=0.5).splits) == {"train", "validation", "test"}
    own = load_questions([str(tmp_path)], validation_fraction=0)
    assert own.splits["validation"]["title"] == ["c"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "an object whose 'data' lists articles"),
        ('{"data": [{"title": "a"}]}', "lacks 'paragraphs'"),
        ('{"data": []}', "no questions to learn from"),
        (
            '{"data": [{"paragraphs": [{"context": 5, "qas": [{"id": "x", "question": "q", "answers": []}]}]}]}',
            "row 1: context",
        ),
    ],
)
def test_what_is_not_squads_form_is_named(tmp_path, content, says):
    (tmp_path / "train.json").write_text(content)
    with pytest.raises(DataError, match=says) as caught:
        load_questions([str(tmp_path / "train.json")])
    assert str(tmp_path) in str(caught.value)
