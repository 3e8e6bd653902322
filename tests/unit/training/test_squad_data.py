"""Questions in SQuAD's form: where their answers stand, and what is said of those that stand nowhere."""

import json

import pytest
from datasets import Dataset
from trident_training.data.problems import DataError
from trident_training.tasks.qa.data import AMBIGUOUS, EMPTY, EXACT, MOVED, UNFOUND, align, load_questions, load_rows
from trident_training.tasks.qa.unanswerable import without_answer

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


@pytest.mark.parametrize(("text", "start", "how"), [("capital", 13, MOVED), ("Seoul", None, AMBIGUOUS)])
def test_an_answer_without_a_start_is_found_where_its_text_stands_once(text, start, how):
    found = align(CONTEXT, text, None)
    assert (found.start, found.how) == (start, how)


@pytest.mark.parametrize("text", ["", " ", "\u200b", "\ufeff \u200b"])
def test_an_answer_that_shows_nothing_is_none(text):
    context = f"Seoul {text} is large."
    found = align(context, text, context.index(text, 6))
    assert (found.start, found.how) == (None, EMPTY)


def test_a_start_that_counted_a_line_end_as_one_character_is_moved_behind_it():
    context = "one cat\r\n" * 12
    # The last cat, each of the eleven line ends before it counted as one.
    found = align(context, "cat", context.replace("\r\n", "\n").rindex("cat"))
    assert (found.start, found.how) == (context.rindex("cat"), MOVED)


def squad(**change):
    """Return SQuAD's form with one question, which the named fields change."""
    question = {"id": "7", "question": "Where?", "answers": [{"text": "Seoul", "answer_start": 0}]} | change
    return {"data": [{"title": "a", "paragraphs": [{"context": CONTEXT, "qas": [question]}]}]}


FLAT = {"id": "7", "context": CONTEXT, "question": "Where?", "answers": {"text": ["Seoul"], "answer_start": [0]}}
NOBODY = ([], [])
#: What is accepted: content, and the answers that become of it. A str is the file's text, a list with a name its rows.
FORMS = {
    "SQuAD 1.1, KorQuAD 1.0": (squad(), (["Seoul"], [0])),
    "SQuAD 2.0, impossible": (squad(answers=[], is_impossible=True), NOBODY),
    "KLUE-MRC": (squad(id=None, guid="7", is_impossible=False, plausible_answers=[]), (["Seoul"], [0])),
    "KLUE-MRC, impossible": (squad(id=None, guid="7", is_impossible=True, plausible_answers=[{}]), NOBODY),
    "AI Hub, one answer": (
        squad(id=None, question_id="7", answers={"text": "Seoul", "answer_start": 0}),
        (["Seoul"], [0]),
    ),
    "AI Hub, no answer": (squad(answers={"text": "", "answer_start": None}, is_impossible="true"), NOBODY),
    "articles alone": (squad()["data"], (["Seoul"], [0])),
    "rows": ([FLAT], (["Seoul"], [0])),
    "rows under data": ({"data": [FLAT]}, (["Seoul"], [0])),
    "rows, answers as objects": ([FLAT | {"answers": [{"text": "Seoul", "answer_start": 0}]}], (["Seoul"], [0])),
    "rows, no answer": ([FLAT | {"answers": {"text": [], "answer_start": []}}], NOBODY),
    "JSON lines": (f"{json.dumps(FLAT)}\n\n{json.dumps(FLAT | {'id': '8'})}\n", (["Seoul"], [0])),
    "one of JSON lines": (json.dumps(FLAT), (["Seoul"], [0])),
    "a byte-order mark": ("\ufeff" + json.dumps(squad()), (["Seoul"], [0])),
    "a start as text": (squad(answers=[{"text": "Seoul", "answer_start": "0"}]), (["Seoul"], [0])),
    "a start with a point": (squad(answers=[{"text": "Seoul", "answer_start": 0.0}]), (["Seoul"], [0])),
    "no start": (squad(answers=[{"text": "capital", "answer_start": None}]), (["capital"], [13])),
    "a number": (
        [FLAT | {"context": "In 1443, as ever.", "answers": {"text": [1443], "answer_start": [3]}}],
        (["1443"], [3]),
    ),
    "possible, as text": (squad(is_impossible="false"), (["Seoul"], [0])),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_that_is_accepted_becomes_the_same_rows(tmp_path, form):
    content, (texts, starts) = FORMS[form]
    file = tmp_path / ("train.jsonl" if "lines" in form else "train.json")
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    row = load_rows(str(file))[0]
    assert (row["id"], row["question"]) == ("7", "Where?")
    assert row["answers"] == {"text": texts, "answer_start": starts}


def test_how_deep_other_things_in_a_row_are_makes_no_difference(tmp_path):
    nested = "[" * 900 + "]" * 900
    (tmp_path / "train.json").write_text(f'[{json.dumps(FLAT)[:-1]}, "more": {nested}}}]')
    assert load_rows(str(tmp_path / "train.json"))["id"] == ["7"]


def test_parquet_is_read_as_the_hub_has_it(tmp_path):
    Dataset.from_list([FLAT, FLAT | {"id": "8"}]).to_parquet(tmp_path / "train-00000-of-00001.parquet")
    assert list(load_rows(str(tmp_path))["id"]) == ["7", "8"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"answers": [{"text": None, "answer_start": 0}]}, "an answer's text is null; a text or a number is accepted"),
        ({"answers": [{"text": "Seoul", "answer_start": "two"}]}, 'answer_start is "two"; a whole number is accepted'),
        ({"answers": [{"text": "Seoul", "answer_start": 1.5}]}, "answer_start is 1.5; a whole number is accepted"),
        ({"answers": [{"text": "Seoul", "answer_start": True}]}, "answer_start is true; a whole number is accepted"),
        ({"answers": {"text": ["Seoul"], "answer_start": []}}, "1 answers, and not as many in answer_start"),
        ({"answers": None}, "has no answers"),
        ({"answers": ["Seoul"]}, "has no answers"),
        ({"is_impossible": "perhaps"}, 'is_impossible is "perhaps"; true or false is accepted'),
    ],
)
def test_what_is_wrong_with_a_question_is_said_with_its_place(tmp_path, change, says):
    file = tmp_path / "train.json"
    file.write_text(json.dumps(squad(**change)))
    with pytest.raises(DataError) as caught:
        load_rows(str(file))
    assert f"{file}, row 1: id 7: " in str(caught.value)
    assert says in str(caught.value)


def test_a_line_that_is_no_json_is_named(tmp_path):
    (tmp_path / "train.jsonl").write_text(f"{json.dumps(FLAT)}\n{{\n")
    with pytest.raises(DataError, match=r"train\.jsonl: cannot be read as JSON, nor line 2 of it"):
        load_rows(str(tmp_path / "train.jsonl"))


def test_questions_are_put_to_passages_without_their_answers(tmp_path):
    places = ("Oslo", "Rome", "Bern", "Kyiv", "Lima", "Cairo")
    articles = []
    for number in range(6):
        paragraphs = []
        for place in places:
            text = f"{place} is city number {number} of them."
            qas = [
                {
                    "id": f"{number}-{place}",
                    "question": f"Which city, {place}?",
                    "answers": [{"text": place, "answer_start": 0}],
                }
            ]
            paragraphs.append({"context": text, "qas": qas})
        articles.append({"title": str(number), "paragraphs": paragraphs})
    file = write(tmp_path / "train.json", *articles)
    data = load_questions([file], validation_fraction=0.34, no_answer=0.5)
    for split, expected in (("train", 24), ("validation", 12)):
        rows = data.splits[split].to_list()
        made = [row for row in rows if not row["answers"]["text"]]
        assert (len(rows) - len(made), len(made)) == (expected, expected // 2)
        own = {row["context"] for row in rows if row["answers"]["text"]}
        for row in made:
            place = row["id"].split("-")[1]
            assert place not in row["context"]
            assert row["context"] in own
        number = [row["id"].split("-")[0] for row in made]
        near = sum(f"number {each} " in row["context"] for each, row in zip(number, made, strict=True))
        assert len(made) / 2 <= near < len(made)
    assert load_rows(file).info.description == "36 answers exact"
    assert "18 questions put to a passage without their answer" in data.summary()
    assert load_questions([file], validation_fraction=0.34, no_answer=0.5).digest("train") == data.digest("train")
    assert load_questions([file], validation_fraction=0.34).paired == 0


def test_a_question_is_put_to_no_passage_where_all_hold_its_answer():
    rows = [FLAT | {"title": "a", "context": f"SEOUL {number}"} for number in range(3)]
    assert without_answer(rows, 1.0) == []


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


def test_questions_without_an_answer_are_on_both_sides(tmp_path):
    nothing = {"answers": [], "is_impossible": True}
    articles = [article(f"title {n}", *[answer("Seoul", 0)] * 2, *[nothing] * (n < 3)) for n in range(20)]
    file = write(tmp_path / "train.json", *articles)
    for seed in range(20):
        splits = load_questions([file], validation_fraction=0.05, seed=seed).splits
        for rows in splits.values():
            assert {bool(each["text"]) for each in rows["answers"]} == {True, False}


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
        ("[]", "no questions to learn from"),
        ("{}", "an object whose 'data' lists articles"),
        ("[7]", "entry 1 is int"),
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
