"""Teaching a tiny encoder another language, from the command line."""

import json

import numpy as np
import pytest
import torch
from datasets import Dataset
from trident_training.checkpoints.loading import load_tokenizer
from trident_training.cli import app
from trident_training.data.problems import DataError
from trident_training.tasks.sts.choices import Kind
from trident_training.tasks.sts.data import Translation, load_translations
from trident_training.tasks.sts.distillation import embed, loss
from trident_training.tasks.sts.pairs import load_pair_model
from trident_training.tasks.sts.scoring import checkpoint_comparer
from typer.testing import CliRunner

WORDS = ("sleeps", "laughs", "runs", "sings", "the", "dog", "a", "cat", "today", "home")


@pytest.fixture(scope="module")
def translations(tmp_path_factory):
    """STS-B's form, and its translation: every word is another one."""
    rng = np.random.default_rng(1)
    folders = [tmp_path_factory.mktemp(name) for name in ("original", "translation")]
    for split, number in (("train", 300), ("dev", 40)):
        lines: tuple[list[str], list[str]] = ([], [])
        for _ in range(number):
            first, second = rng.integers(0, len(WORDS), (2, 4))
            score = f"{rng.integers(0, 6)}.0"
            for shift, rows in enumerate(lines):
                texts = (" ".join(WORDS[(index + shift) % len(WORDS)] for index in side) for side in (first, second))
                rows.append("\t".join(["main", "file", "2012", "1", score, *texts]))
        for folder, rows in zip(folders, lines, strict=True):
            (folder / f"{split}.tsv").write_text("\n".join(rows))
    return folders


def distill(translations, student, teacher, output, *options, code=0):
    original, translation = translations
    fixed = ["--original", original, "--translation", translation, "--model", student, "--teacher", teacher]
    settings = ["--output", output, "--epochs", 8, "--learning-rate", "5e-3", "--batch-size", 32, "--max-length", 16]
    done = CliRunner().invoke(app, ["translate", *map(str, [*fixed, *settings, *options])])
    assert done.exit_code == code, done.output
    return " ".join(done.output.split())


def embeddings(folder, texts):
    return embed(load_pair_model(folder, Kind.BI_ENCODER, 16).eval(), load_tokenizer(folder), texts)


@pytest.mark.slow
def test_a_student_learns_where_the_teacher_puts_the_originals(translations, tiny_checkpoint, tmp_path):
    teacher, student = str(tiny_checkpoint("bert")), str(tiny_checkpoint("electra"))
    printed = distill(translations, student, teacher, tmp_path / "run")
    assert "mean cosine with" in printed
    epochs = json.loads((tmp_path / "run" / "result.json").read_text())["epochs"]
    # The student that was kept, on translations, against the teacher on originals.
    pairs = load_translations(*map(str, translations))["validation"]
    folder = str(tmp_path / "run" / "best")
    found = embeddings(folder, [each.translation for each in pairs])
    goals = embeddings(teacher, [each.original for each in pairs])
    assert (found * goals).sum(1).mean() == pytest.approx(max(epoch["cosine"] for epoch in epochs), abs=0.02)
    # It finds most originals among all: an untaught one finds hardly any.
    right = ((found @ goals.T).argmax(1) == np.arange(len(pairs))).mean()
    untaught = (embeddings(student, [each.translation for each in pairs]) @ goals.T).argmax(1) == np.arange(len(pairs))
    assert right > 0.3 > 0.1 > untaught.mean()
    # It can be fine-tuned and compared like any other.
    comparer, _ = checkpoint_comparer(folder, 16)
    rows = Dataset.from_dict({"sentence_1": ["the dog"], "sentence_2": ["the dog"], "score": [5.0]})
    assert comparer(rows) == pytest.approx(1, abs=1e-5)


def test_the_loss_asks_for_the_goal_and_for_no_other_of_the_batch():
    goals = torch.eye(3)
    right, wrong = loss({"logits": goals * 7}, goals), loss({"logits": goals[[1, 2, 0]]}, goals)
    # Distance 0 and a contrast of log(1 + 2 exp(-20)); distance 1 and a contrast of 20 and a little.
    assert right.item() == pytest.approx(0, abs=1e-4)
    assert wrong.item() == pytest.approx(1 + 0.2 * 20, abs=1e-3)
    # Of several passes that make one step, each counts by its sentences.
    part = {"logits": goals[[1, 2]]}
    share = loss(part, goals[:2], goals.numel()) / loss(part, goals[:2])
    assert share.item() == pytest.approx(2 / 3)


def test_each_sentence_is_taken_once_and_none_of_the_validation_set(tmp_path):
    row = "x\tx\tx\tx\t1\t{}\t{}"
    for name, sides in (("a", ("one", "two", "three")), ("b", ("eins", "zwei", "drei"))):
        (tmp_path / name).mkdir()
        first, second, third = sides
        lines = [row.format(first, second), row.format(second, third), row.format(first, first)]
        (tmp_path / name / "train.tsv").write_text("\n".join(lines))
        (tmp_path / name / "dev.tsv").write_text(row.format(third, third))
    found = load_translations(str(tmp_path / "a"), str(tmp_path / "b"))
    assert found["validation"] == [Translation("three", "drei")]
    assert sorted(found["train"]) == [("one", "eins"), ("two", "zwei")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:-1], "300 and 299 rows"),
        (lambda rows: [rows[0], rows[1].replace(".0\t", ".5\t", 1), *rows[2:]], "other scores in row 2"),
    ],
)
def test_rows_that_do_not_belong_together_are_refused(translations, tmp_path, change, message):
    original, translation = translations
    for name in ("train.tsv", "dev.tsv"):
        rows = (translation / name).read_text().replace("\t5.0\t", "\t4.0\t").splitlines()
        same = (original / name).read_text().replace("\t5.0\t", "\t4.0\t").splitlines()
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "b").mkdir(exist_ok=True)
        (tmp_path / "a" / name).write_text("\n".join(same))
        (tmp_path / "b" / name).write_text("\n".join(change(rows) if name == "train.tsv" else rows))
    with pytest.raises(DataError, match=f"are not one another's translation: {message}"):
        load_translations(str(tmp_path / "a"), str(tmp_path / "b"))


def test_what_cannot_be_compared_is_refused(translations, tiny_checkpoint, tmp_path):
    from transformers import BertConfig, BertModel

    BertModel(BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)).save_pretrained(
        tmp_path / "narrow"
    )
    load_tokenizer(str(tiny_checkpoint("bert"))).save_pretrained(tmp_path / "narrow")
    printed = distill(translations, tiny_checkpoint("bert"), tmp_path / "narrow", tmp_path / "run", code=1)
    assert "teacher and student must be of one width" in printed
