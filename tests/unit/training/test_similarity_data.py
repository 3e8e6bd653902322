"""Sentence pairs in every form that their sources have."""

import json

import pytest
from trident_training.data.problems import DataError
from trident_training.tasks.sts.data import SIDES, load_pairs, load_rows, load_translations
from trident_training.tasks.sts.task import TASK, SimilarityOptions

PAIRS = [(f"sentence {index}", f"other {index}", round(index % 26 / 5, 1)) for index in range(40)]
STSB = [f"main\tfile\t2012\t{n}\t{score}\t{one}\t{two}" for n, (one, two, score) in enumerate(PAIRS)]


def write(folder, form):
    if form == "stsb.csv":
        lines = [*STSB[:-1], STSB[-1] + "\tfurther\tcolumns"]
    elif form == "korsts.tsv":
        lines = ["genre\tfilename\tyear\tid\tscore\tsentence1\tsentence2", *STSB]
    elif form == "klue.csv":
        lines = ["sentence1,sentence2,label", *(f'"{one}",{two},{score}' for one, two, score in PAIRS)]
    elif form == "stsb.jsonl":
        lines = [json.dumps({"sentence1": one, "sentence2": two, "score": score}) for one, two, score in PAIRS]
    else:
        rows = [
            {"sentence1": one, "sentence2": two, "labels": {"label": round(score), "real-label": score}}
            for one, two, score in PAIRS
        ]
        lines = [json.dumps(rows)]
    file = folder / form
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.mark.parametrize("form", ["stsb.csv", "korsts.tsv", "klue.csv", "stsb.jsonl", "klue.json"])
def test_every_form_gives_the_same_pairs(form, tmp_path):
    rows = load_rows(str(write(tmp_path, form)))
    assert [(row["sentence_1"], row["sentence_2"], row["score"]) for row in rows] == PAIRS
    assert rows["label"] == [int(score >= 3.0) for *_, score in PAIRS]


def test_a_quotation_mark_in_stsb_is_a_character(tmp_path):
    (tmp_path / "a.csv").write_text('main\tf\t2012\t1\t5.0\t"He said\tHe said so.\n')
    assert load_rows(str(tmp_path / "a.csv"))["sentence_1"] == ['"He said']


def test_what_is_chosen_and_reported_by_is_not_learned_from(tmp_path):
    for name, rows in (("train", STSB), ("dev", [*STSB[:3], "x\tx\tx\tx\t4\tnew\tpair"])):
        (tmp_path / f"sts-{name}.tsv").write_text("\n".join(rows))
    data = load_pairs([str(tmp_path)], validation_fraction=0.2, seed=3)
    pairs = {name: {(row["sentence_1"], row["sentence_2"]) for row in rows} for name, rows in data.splits.items()}
    assert len(pairs["validation"]) == 8
    assert ("new", "pair") in pairs["test"]
    assert not pairs["train"] & (pairs["validation"] | pairs["test"])
    assert "left out" in data.notes[0]
    assert load_rows(str(tmp_path), validation_fraction=0.2, seed=3)["sentence_1"] == list(
        data.splits["validation"]["sentence_1"]
    )


def test_pairs_that_share_a_sentence_stay_on_one_side(tmp_path):
    # In chains of four: each pair begins with the sentence that the one before ends with.
    texts = [(f"{index // 4} {index % 4}", f"{index // 4} {index % 4 + 1}") for index in range(400)]
    rows = [f"x\tx\tx\tx\t4\t{first}\t{second}" for first, second in texts]
    (tmp_path / "a.csv").write_text("\n".join(rows))
    splits = load_pairs([str(tmp_path / "a.csv")], validation_fraction=0.3).splits
    assert len(splits["validation"]) >= 120
    sides = [{text for name in SIDES for text in splits[split][name]} for split in ("train", "validation")]
    assert not sides[0] & sides[1]


@pytest.mark.parametrize(
    ("texts", "carved"),
    [
        ([(f"{n}", f"other {n}") for n in range(4)], 1),
        # In threes that share a sentence: none is within a hundredth of the rows.
        ([(f"{n // 3}", f"other {n}") for n in range(60)], 6),
        # One sentence is in all pairs but two.
        ([("the", f"other {n}") for n in range(58)] + [("a", "b"), ("c", "d")], 2),
    ],
)
def test_there_is_always_something_to_choose_by(tmp_path, texts, carved):
    rows = [f"x\tx\tx\tx\t4\t{first}\t{second}" for first, second in texts]
    (tmp_path / "a.csv").write_text("\n".join(rows))
    splits = load_pairs([str(tmp_path / "a.csv")], validation_fraction=0.1).splits
    assert len(splits["validation"]) == carved
    assert len(load_rows(str(tmp_path / "a.csv"), validation_fraction=0.1)) == carved
    assert len(splits["train"]) == len(texts) - carved


def test_pairs_that_cannot_be_parted_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("\n".join(f"x\tx\tx\tx\t4\tthe\t{n}" for n in range(40)))
    for load in (load_pairs, load_rows):
        source = str(tmp_path / "a.csv")
        with pytest.raises(DataError, match="pairs that do not all share sentences are accepted") as caught:
            load([source] if load is load_pairs else source, validation_fraction=0.1)
        assert source in str(caught.value)


def test_a_train_set_that_is_all_chosen_by_is_refused(tmp_path):
    for name in ("train", "dev"):
        (tmp_path / f"{name}.tsv").write_text("\n".join(STSB))
    with pytest.raises(DataError, match="every pair is chosen or reported by"):
        load_pairs([str(tmp_path)], validation_fraction=0)
    with pytest.raises(DataError, match="every sentence is in the validation set"):
        load_translations(str(tmp_path), str(tmp_path))


def test_only_the_first_source_is_carved(tmp_path):
    files = [write(tmp_path, "stsb.csv"), tmp_path / "further.csv"]
    files[1].write_text("sentence1,sentence2,label\nanother,one,5\n")
    splits = load_pairs([str(file) for file in files], validation_fraction=0.5).splits
    assert "another" in splits["train"]["sentence_1"]
    assert "another" not in splits["validation"]["sentence_1"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("sentence1,sentence2,label\na,b,5.1\na,b,nan\na,,1\n", "row 1: the score is '5.1'; 0 to 5 is accepted"),
        ("sentence1,sentence2,label\na,,1\n", "row 1: sentence_2 is ''; text is accepted"),
        ("sentence1,sentence2,label\n\xad,a,1\n", "row 1: sentence_1 is .*; text is accepted"),
        ("sentence1,label\na,1\n", "no column sentence2 or sentence_2 among sentence1, label"),
        ("x\tx\tx\tx\t1\ta\tb\nx\tx\n", "row 2: 2 column.s.; 7 or more are accepted"),
        ("", "the file is empty"),
    ],
)
def test_a_bad_file_is_refused_with_its_rows(tmp_path, content, message):
    (tmp_path / "bad.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        load_rows(str(tmp_path / "bad.csv"))


def test_a_source_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match="there is no file or folder"):
        load_pairs([str(tmp_path / "none")])
    with pytest.raises(DataError, match="holds no train file"):
        load_pairs([str(tmp_path)])
    with pytest.raises(ValueError, match="no validation set"):
        load_pairs([str(write(tmp_path, "stsb.csv"))], validation_fraction=0)


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("a.csv", "sentence1,sentence2,score\na,b,4.5\n\nc,d,3\n\n", {}),
        ("a.csv", " Sentence1 ,SENTENCE2,Score\na,b,4.5\nc,d,3\n", {}),
        ("a.csv", "sentence1;sentence2;score\na;b;4,5\nc;d;3\n", {"delimiter": ";"}),
        (
            "a.csv",
            "Satz A,Satz B,Wert\na,b,4.5\nc,d,3\n",
            {"text_column": ["Satz A", "satz b"], "label_column": "Wert"},
        ),
        ("a.csv", "sentence1,sentence2,score\na,b,0.9\nc,d,0.6\n", {"scale": [1.0]}),
        (
            "a.jsonl",
            '{"Left": "a", "right": "b", "y": 90}\n{"Left": "c", "right": "d", "y": "60"}\n',
            {
                "text_column": ["left", "right"],
                "label_column": "y",
                "scale": [100.0],
            },
        ),
    ],
)
def test_what_people_have_is_taken(tmp_path, name, content, options):
    (tmp_path / name).write_text(content)
    form = SimilarityOptions(**options)
    rows = TASK.rows(str(tmp_path / name), 0.0, 0, form)
    assert [(row["sentence_1"], row["sentence_2"], row["score"], row["label"]) for row in rows] == [
        ("a", "b", pytest.approx(4.5), 1),
        ("c", "d", pytest.approx(3.0), 1),
    ]


@pytest.mark.parametrize(
    ("content", "option"),
    [
        ("Satz A,Satz B,Wert\na,b,4\n", "--text-column, twice, and --label-column"),
        ("sentence1;sentence2;score\na;b;4\n", "--delimiter"),
        ("sentence1,sentence2,score\na,b,80\n", "--scale"),
    ],
)
def test_a_refusal_names_the_option_that_takes_it(tmp_path, content, option):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(DataError, match=option):
        load_rows(str(tmp_path / "a.csv"))


def test_two_scales_are_not_joined_without_a_word(tmp_path):
    files = [write(tmp_path, "stsb.csv"), tmp_path / "other.csv"]
    files[1].write_text("sentence1,sentence2,score\nx,y,0.2\nz,u,1.0\n")
    sources = [str(file) for file in files]
    with pytest.raises(DataError, match=r"other\.csv: no score is above 1, .* --scale 1 "):
        load_pairs(sources)
    joined = load_pairs(sources, scales=[5.0, 1.0])
    assert joined.notes == [f"{files[1]}: scores of 0 to 1 are taken for 0 to 5"]
    scores = {row["sentence_1"]: row["score"] for row in joined.splits["train"]}
    assert (scores["x"], scores["z"]) == (1.0, 5.0)
    assert load_rows(sources[1], scale=1.0).info.description == joined.notes[0]
    with pytest.raises(ValueError, match="3 scales for 2 sources"):
        SimilarityOptions(data=sources, scale=[1.0, 5.0, 5.0])
    with pytest.raises(ValueError, match="give --text-column twice"):
        SimilarityOptions(text_column=["one"])


@pytest.mark.parametrize("load", [lambda source, **more: load_pairs([source], **more), load_rows])
@pytest.mark.parametrize(("split", "other"), [("dev", "train"), ("train", "dev")])
def test_a_split_on_a_scale_of_its_own_is_refused(tmp_path, load, split, other):
    for name, most in ((split, 1), (other, 5)):
        rows = [f"{name} {index},other {index},{most * index / 20}" for index in range(21)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["sentence1,sentence2,score", *rows]))
    told = rf"{split}\.csv: no score is above 1, and .*{other}\.csv has some up to 5; .*--scale 5 leaves"
    with pytest.raises(DataError, match=told):
        load(str(tmp_path))
    (tmp_path / f"{other}.csv").unlink()
    (tmp_path / f"{split}.csv").rename(tmp_path / "train.csv")
    with pytest.raises(DataError, match=r"no score is above 1, .*--scale 1 has 1 stand for it"):
        load(str(tmp_path))


def test_a_rare_label_is_on_both_sides(tmp_path):
    rows = [f"one {index},other {index},{5 if index < 2 else 1}" for index in range(60)]
    (tmp_path / "a.csv").write_text("\n".join(["sentence1,sentence2,score", *rows]))
    for seed in range(5):
        splits = load_pairs([str(tmp_path / "a.csv")], seed=seed).splits
        assert sum(splits["train"]["label"]) == sum(splits["validation"]["label"]) == 1
