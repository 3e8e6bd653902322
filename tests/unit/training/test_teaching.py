"""The soft labels that a span reader learns from when it has a teacher."""

import json
import math

import numpy as np
import pytest
import torch
from trident_training.checkpoints import load_question_answerer, load_tokenizer
from trident_training.cli import app
from trident_training.finetune.question_answering import NOWHERE, cut
from trident_training.finetune.teaching import SHARE, TEMPERATURE, Teacher, loss
from typer.testing import CliRunner


@pytest.fixture(scope="module")
def reader(tiny_checkpoint, tmp_path_factory):
    """A reader that is sure of what it answers, whatever that is."""
    folder = tmp_path_factory.mktemp("reader")
    model = load_question_answerer(str(tiny_checkpoint("bert")), 48)
    torch.nn.init.normal_(model.qa_outputs.weight, generator=torch.Generator().manual_seed(3))
    model.save_pretrained(folder)
    load_tokenizer(str(tiny_checkpoint("bert"))).save_pretrained(folder)
    return str(folder)


def windows(reader, context, text, start, **options):
    question = {
        "question": "the cat?",
        "context": context,
        "answers": {"text": [text] if text else [], "answer_start": [start] if text else []},
    }
    return list(cut([question], load_tokenizer(reader), 48, 8, **options)[0])


def spoken(reader, window, span):
    """Return the text of a window's tokens."""
    tokens = load_tokenizer(reader).convert_ids_to_tokens(window["input_ids"])
    return " ".join(tokens[span[0] : span[1] + 1])


def test_every_place_of_the_text_may_be_meant_where_starts_are_guesses(reader):
    context = "the dog sleeps at home and the old king sleeps at home today"
    (stated,) = windows(reader, context, "at home", 15)
    (guessed,) = windows(reader, context, "at home", 15, guessed_starts=True)
    assert [len(window["labels"]) for window in (stated, guessed)] == [1, 2]
    assert guessed["labels"][0] == stated["labels"][0] == [stated["start_positions"], stated["end_positions"]]
    assert [spoken(reader, guessed, span) for span in guessed["labels"]] == ["at home", "at home"]


def test_part_of_a_longer_word_is_not_meant(reader):
    # "a" begins the token "at" as well, and ends none.
    (window,) = windows(reader, "at home a cat sleeps", "a", 0, guessed_starts=True)
    assert [spoken(reader, window, span) for span in window["labels"]] == ["a"]
    # Unless it is nowhere a word of its own: then its stated start counts.
    (window,) = windows(reader, "the dog sleeps at home", "do", 4, guessed_starts=True)
    assert [spoken(reader, window, span) for span in window["labels"]] == ["dog"]


@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert"])
def test_places_are_found_by_every_kind_of_tokenizer(tiny_checkpoint, architecture):
    """Some have offsets that begin with the space before a word, and several tokens for one character."""
    checkpoint = str(tiny_checkpoint(architecture))
    context = "the 🐟 sleeps at home and the 🐟 sings"
    for text, places in (("🐟 sleeps", 1), ("🐟", 2), ("home", 1)):
        start = context.index(text)
        (stated,) = windows(checkpoint, context, text, start)
        (guessed,) = windows(checkpoint, context, text, start, guessed_starts=True)
        assert len(guessed["labels"]) == places
        assert guessed["labels"][0][0] == stated["start_positions"]
        assert guessed["labels"][0][1] >= stated["end_positions"]


@pytest.mark.parametrize("guessed_starts", [False, True])
def test_a_window_without_the_answer_is_labelled_nowhere(reader, guessed_starts):
    context = "the dog sleeps " * 30
    rows = windows(reader, context + "home", "home", len(context), guessed_starts=guessed_starts)
    assert [each["labels"] for each in rows[:-1]] == [[list(NOWHERE)]] * (len(rows) - 1)
    assert spoken(reader, rows[-1], rows[-1]["labels"][0]) == "home"
    (unanswerable,) = windows(reader, "the dog sleeps", "", 0, guessed_starts=guessed_starts)
    assert unanswerable["labels"] == [list(NOWHERE)]


def probabilities(reader, window):
    """Return the reader's, of firsts and of lasts, softened; float64 ``[2, tokens]``."""
    model = load_question_answerer(reader, 48, fine_tuned=True).eval()
    ids = {name: torch.tensor([window[name]]) for name in ("input_ids", "attention_mask", "token_type_ids")}
    with torch.inference_mode():
        found = model(**ids)
    logits = torch.stack([found["start_logits"][0], found["end_logits"][0]]).double().numpy() / TEMPERATURE
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def test_labels_are_half_the_answer_and_half_what_the_teacher_answers(reader):
    tokenizer = load_tokenizer(reader)
    rows = windows(reader, "the dog sleeps at home", "home", 18)
    rows += windows(reader, "home today is home and no place sings like home", "home", 0, guessed_starts=True)
    assert len(rows[1]["labels"]) == 3
    batch = Teacher(reader, tokenizer, 48)(rows)
    assert batch["labels"].shape == (2, 48, 2)
    assert batch["labels"].sum(1).numpy() == pytest.approx(np.ones((2, 2)), abs=1e-5)
    for row, labels in zip(rows, batch["labels"].numpy(), strict=True):
        length = len(row["input_ids"])
        taught = probabilities(reader, row)
        weights = [taught[0, first] * taught[1, last] for first, last in row["labels"]]
        truth = np.zeros((2, length))
        for (first, last), weight in zip(row["labels"], weights, strict=True):
            truth[0, first] += weight / sum(weights)
            truth[1, last] += weight / sum(weights)
        # The teacher computes in half precision where that is fast.
        np.testing.assert_allclose(labels[:length].T, SHARE * taught + (1 - SHARE) * truth, atol=0.02)
        assert not labels[length:].any(), "padding is no answer"


def test_what_a_teacher_is_sure_of_does_not_overflow(reader):
    (row,) = windows(reader, "home today is home", "home", 0, guessed_starts=True)
    teacher = Teacher(reader, load_tokenizer(reader), 48)
    with torch.no_grad():
        teacher._model.qa_outputs.weight.mul_(1e4)
    labels = teacher([row])["labels"]
    assert torch.isfinite(labels).all()
    assert labels.sum(1).numpy() == pytest.approx(np.ones((1, 2)), abs=1e-5)


def test_the_loss_is_the_readers_own_where_labels_are_certain(reader):
    tokenizer = load_tokenizer(reader)
    (row,) = windows(reader, "the dog sleeps at home", "home", 18)
    model = load_question_answerer(reader, 48, fine_tuned=True).eval()
    batch = tokenizer.pad([{"input_ids": row["input_ids"]}], return_tensors="pt")
    first, last = row["labels"][0]
    expected = model(**batch, start_positions=torch.tensor([first]), end_positions=torch.tensor([last]))
    labels = torch.zeros(1, len(row["input_ids"]), 2)
    labels[0, first, 0] = labels[0, last, 1] = 1
    assert loss(expected, labels).item() == pytest.approx(expected["loss"].item(), rel=1e-5)
    longer = torch.nn.functional.pad(labels, (0, 0, 0, 48 - labels.shape[1]))
    assert loss(expected, longer).item() == pytest.approx(expected["loss"].item(), rel=1e-5)
    # Nothing known and nothing claimed; and of two passes that make one step, each counts by its share.
    even = {"start_logits": torch.zeros(1, 4), "end_logits": torch.zeros(1, 4)}
    assert loss(even, torch.full((1, 4, 2), 0.25)).item() == pytest.approx(math.log(4))
    assert loss(even, torch.full((1, 4, 2), 0.25), 16).item() == pytest.approx(math.log(4) / 2)


def finetune(toy_squad, model, output, *options):
    fixed = ["--data", toy_squad, "--model", model, "--output", output, "--max-length", 48, "--doc-stride", 8]
    settings = ["--epochs", 8, "--learning-rate", "3e-3", "--batch-size", 32, "--validation-fraction", "0.2"]
    return CliRunner().invoke(app, ["finetune", "qa", *map(str, [*fixed, *settings, *options])])


def test_a_reader_learns_from_a_teacher(tiny_checkpoint, toy_squad, tmp_path):
    student = tiny_checkpoint("bert")
    assert finetune(toy_squad, student, tmp_path / "teacher").exit_code == 0
    teacher = tmp_path / "teacher" / "best"
    done = finetune(toy_squad, student, tmp_path / "student", "--teacher", teacher, "--guessed-starts")
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "student" / "result.json").read_text())
    assert result["best_epoch"]["f1"] > 80
    assert result["settings"]["teacher"] == str(teacher)


def test_what_cannot_be_taught_is_refused(tiny_checkpoint, reader, toy_squad, tmp_path):
    done = finetune(toy_squad, tiny_checkpoint("bert"), tmp_path / "run", "--guessed-starts")
    assert done.exit_code == 1
    assert "guessed starts need a teacher" in " ".join(done.output.split())
    done = finetune(toy_squad, tiny_checkpoint("roberta"), tmp_path / "run", "--teacher", reader)
    assert done.exit_code == 1
    assert "another vocabulary" in " ".join(done.output.split())
    # The same vocabulary, without token types: the teacher would read question and passage as one text.
    tokenizer = load_tokenizer(reader)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    with pytest.raises(ValueError, match=r"takes input_ids.*token_type_ids.*; a teacher that takes the same"):
        Teacher(reader, tokenizer, 48)
