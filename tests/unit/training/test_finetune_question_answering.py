"""Fine-tuning a tiny span reader, and the windows it learns from and answers in."""

import json
import random
import shutil

import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from fine_tuned import FURTHER, SIZES, run
from safetensors.torch import load_file, save_file
from trident_training.checkpoints.loading import load_tokenizer
from trident_training.cli import app
from trident_training.data.problems import DataError
from trident_training.finetune.settings import Settings
from trident_training.tasks import find_tasks
from trident_training.tasks.qa.data import QuestionData
from trident_training.tasks.qa.training import best_texts, cut, decode, prepare
from typer.testing import CliRunner


@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert"])
def test_windows_cover_the_context_and_label_the_answer_where_they_hold_it(
    tiny_checkpoint, architecture, make_question
):
    tokenizer = load_tokenizer(str(tiny_checkpoint(architecture)))
    rng = random.Random(1)
    questions = Dataset.from_list([make_question(index, rng) for index in range(20)])
    rows, passages = cut(questions, tokenizer, max_length=48, doc_stride=8)
    assert len(rows) > 20, "the contexts are meant to need several windows"
    for question, passage in zip(questions, passages, strict=True):
        whole = tokenizer(question["context"], add_special_tokens=False, return_offsets_mapping=True)
        assert passage.offsets.tolist() == [list(offset) for offset in whole["offset_mapping"]]
        labelled = 0
        for row, (place, count, first) in zip(passage.rows, passage.places, strict=True):
            ids = rows[row]["input_ids"]
            assert len(ids) <= 48
            assert ids[place : place + count] == whole["input_ids"][first : first + count]
            start, end = rows[row]["start_positions"], rows[row]["end_positions"]
            if (start, end) != (0, 0):
                labelled += 1
                begins, ends = passage.offsets[first + start - place][0], passage.offsets[first + end - place][1]
                assert question["context"][begins:ends].strip() == question["answers"]["text"][0]
        assert labelled, "no window holds the answer"
    # Logits that point at the labels give the answers back.
    longest = max(len(row["input_ids"]) for row in rows)
    start, end = np.zeros((2, len(rows), longest), np.float32)
    for index, row in enumerate(rows):
        if row["start_positions"]:
            start[index, row["start_positions"]] = end[index, row["end_positions"]] = 20
    found = decode(list(questions), passages, start, end)
    assert best_texts(list(questions), found) == [each["answers"]["text"][0] for each in questions]


def test_a_question_that_leaves_no_room_has_no_window(tiny_checkpoint, make_question):
    tokenizer = load_tokenizer(str(tiny_checkpoint("bert")))
    question = make_question(0, random.Random(0)) | {"question": "the dog " * 40}
    _, passages = cut(Dataset.from_list([question, make_question(1, random.Random(1))]), tokenizer, 48, 8)
    assert passages[0].rows == []
    assert best_texts([question], decode([question], passages[:1], np.zeros((0, 1)), np.zeros((0, 1)))) == [""]


def test_questions_that_are_all_too_long_are_refused(tiny_checkpoint, make_question, tmp_path):
    rng = random.Random(0)
    questions = [make_question(n, rng) | {"question": "the dog " * 40} for n in range(10)]
    data = QuestionData(
        DatasetDict(train=Dataset.from_list(questions[5:]), validation=Dataset.from_list(questions[:5]))
    )
    settings = Settings(tmp_path, str(tiny_checkpoint("bert")), max_length=48)
    with pytest.raises(DataError, match=r"no question of the train set leaves room .* up to 24 tokens are accepted"):
        prepare(data, settings, doc_stride=8)


def test_windows_that_would_not_move_on_are_refused(tiny_checkpoint, make_question):
    with pytest.raises(ValueError, match="doc_stride 40 leaves no room for a question in 48 tokens; 16 or less"):
        cut(Dataset.from_list([]), load_tokenizer(str(tiny_checkpoint("bert"))), 48, 40)


@pytest.mark.slow
def test_a_readers_soup_keeps_its_best_and_is_calibrated(fine_tuned, toy_squad, tmp_path):
    _, best = fine_tuned("qa")
    result = json.loads((best / "result.json").read_text())
    assert result["primary"] == "f1"
    assert 0.2 <= json.loads((best / "calibration.json").read_text())["temperature"] <= 5
    # Its weights, a little moved, and averaged with themselves.
    moved = tmp_path / "moved"
    shutil.copytree(best, moved)
    tensors = load_file(best / "model.safetensors")
    save_file(
        {name: each + 0.001 for name, each in tensors.items()}, moved / "model.safetensors", metadata={"format": "pt"}
    )
    scored = ["--data", toy_squad, *SIZES, *FURTHER["qa"]]
    run("soup", "qa", best, moved, "--output", tmp_path / "soup", *scored)
    averaged = json.loads((tmp_path / "soup" / "result.json").read_text())
    assert averaged["best_epoch"]["f1"] >= result["best_epoch"]["f1"]
    assert str(best) in averaged["soup"]
    assert json.loads((tmp_path / "soup" / "calibration.json").read_text())["length_penalty"] >= 0


def test_the_commands_of_korean_readers_have_their_counterparts(tiny_checkpoint, toy_squad, tmp_path):
    """KorQuAD's trainer evaluates every so many steps; a study accumulates gradients and blanks long answers."""
    best = tmp_path / "run" / "best"
    data = ["--data", toy_squad, "--validation-fraction", 0.1, "--max-length", 48, "--doc-stride", 8]
    options = ["--model", tiny_checkpoint("bert"), "--output", tmp_path / "run", "--questions", 40, "--epochs", 1]
    further = [
        "--batch-size",
        16,
        "--accumulation",
        2,
        "--evaluate-every",
        3,
        "--save-steps",
        3,
        "--learning-rate",
        1e-3,
    ]
    taught = ["--metric", "korquad", "--no-answer", 0.5]
    done = CliRunner().invoke(app, ["finetune", "qa", *map(str, [*data, *options, *further, *taught])])
    assert done.exit_code == 0, done.output
    assert "40 questions put to a passage" in " ".join(done.output.split()), "of 40 to learn from and 40 to choose by"
    assert "of the questions without one" in " ".join(done.output.split())
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert len(result["epochs"]) > 1, "evaluated after the epoch alone"
    assert {"f1", "exact_match", "refused", "answered"} <= result["best_epoch"].keys()
    assert result["settings"]["metric"] == "korquad"
    calibration = json.loads((best / "calibration.json").read_text())
    assert calibration["may_be_unanswerable"]
    scored = ["--checkpoint", best, "--metric", "korquad", "--strip", "[CLS] [SEP]", "--longest-answer", 19]
    done = CliRunner().invoke(app, ["evaluate", "qa", *map(str, [*data, *scored, "--no-answer", 1])])
    assert done.exit_code == 0, done.output
    assert "400 answers exact" in done.output
    # A narrow terminal breaks headings.
    for column in ("edit", "distance", "refused", "answered"):
        assert column in done.output


@pytest.mark.parametrize(
    ("layers", "width", "most"), [(6, 384, 1 << 18), (12, 384, 1 << 17), (12, 768, 1 << 16), (24, 1024, 1 << 16)]
)
def test_a_passage_may_have_fewer_windows_where_each_is_more_work(layers, width, most):
    assert find_tasks()["qa"].limits(layers, width) == {"most_window_tokens": str(most)}
    assert find_tasks()["sts"].limits(layers, width) == {}
