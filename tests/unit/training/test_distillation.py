"""Teaching tiny sentence encoders what others embed, also of another language, from the command line."""

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import BertConfig, BertModel
from trident_training.checkpoints.loading import load_tokenizer
from trident_training.cli import app
from trident_training.data.problems import DataError
from trident_training.tasks.sts.choices import Kind
from trident_training.tasks.sts.data import Translation, load_translations
from trident_training.tasks.sts.distillation import embed, embedding_loss, fit
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
            score = f"{len(set(first) & set(second)) * 5 / 4:.1f}"
            for shift, rows in enumerate(lines):
                texts = (" ".join(WORDS[(index + shift) % len(WORDS)] for index in side) for side in (first, second))
                rows.append("\t".join(["main", "file", "2012", "1", score, *texts]))
        for folder, rows in zip(folders, lines, strict=True):
            (folder / f"{split}.tsv").write_text("\n".join(rows))
    return folders


def distill(teacher, student, data, output, *options, code=0):
    fixed = ["--teacher", teacher, "--model", student, "--data", data, "--output", output]
    settings = ["--epochs", 8, "--learning-rate", "5e-3", "--batch-size", 32, "--max-length", 16]
    done = CliRunner().invoke(app, ["distill", "sts", *map(str, [*fixed, *settings, *options])])
    assert done.exit_code == code, done.output
    return " ".join(done.output.split())


def embeddings(folder, texts):
    return embed(load_pair_model(folder, Kind.BI_ENCODER, 16).eval(), load_tokenizer(folder), texts, 16)


@pytest.fixture(scope="module")
def narrow(tiny_checkpoint, tmp_path_factory):
    """An encoder half as wide as the others."""
    folder = tmp_path_factory.mktemp("narrow")
    tokenizer = load_tokenizer(str(tiny_checkpoint("bert")))
    sizes = {"vocab_size": len(tokenizer), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(2)
    BertModel(BertConfig(**sizes, intermediate_size=32, max_position_embeddings=66)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.mark.slow
def test_a_student_learns_where_the_teacher_puts_the_originals(translations, tiny_checkpoint, tmp_path):
    teacher, student = str(tiny_checkpoint("bert")), str(tiny_checkpoint("electra"))
    original, translation = translations
    sides = ("--original", original, "--translation", translation)
    distill(teacher, student, translation, tmp_path / "run", *sides)
    # The student that was kept, on translations, against the teacher on originals.
    pairs = load_translations(*map(str, translations))["validation"]
    folder = str(tmp_path / "run" / "best")
    found = embeddings(folder, [each.translation for each in pairs])
    goals = embeddings(teacher, [each.original for each in pairs])
    # It finds most originals among all: an untaught one finds hardly any.
    right = ((found @ goals.T).argmax(1) == np.arange(len(pairs))).mean()
    untaught = (embeddings(student, [each.translation for each in pairs]) @ goals.T).argmax(1) == np.arange(len(pairs))
    assert right > 0.3 > 0.1 > untaught.mean()
    # It can be fine-tuned and compared like any other.
    comparer, _ = checkpoint_comparer(folder, 16)
    rows = Dataset.from_dict({"sentence_1": ["the dog"], "sentence_2": ["the dog"], "score": [5.0]})
    assert comparer(rows) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_a_narrow_student_learns_a_wide_teachers_similarities_from_text_alone(
    translations, tiny_checkpoint, narrow, tmp_path
):
    teacher = str(tiny_checkpoint("bert"))
    rng = np.random.default_rng(3)
    draw = [" ".join(WORDS[index] for index in rng.integers(0, len(WORDS), 4)) for _ in range(900)]
    (tmp_path / "text.txt").write_text("\n".join(draw[:801]))
    distill(teacher, narrow, translations[0], tmp_path / "run", "--text", tmp_path / "text.txt", "--alpha", 1)

    def alike(folder):
        found, goals = (embeddings(each, draw[801:]) for each in (folder, teacher))
        upper = np.triu_indices(len(found), 1)
        return np.corrcoef((found @ found.T)[upper], (goals @ goals.T)[upper])[0, 1]

    assert alike(str(tmp_path / "run" / "best")) > max(0.75, alike(narrow) + 0.05)
    assert embeddings(str(tmp_path / "run" / "best"), ["a cat"]).shape == (1, 16), "the projection is dropped"


def test_what_has_no_embeddings_is_refused_and_so_is_half_a_translation(translations, tiny_checkpoint, tmp_path):
    model, (original, _) = tiny_checkpoint("bert"), translations
    printed = distill(model, model, original, tmp_path / "run", "--kind", "cross-encoder", code=1)
    assert "only a bi-encoder has embeddings" in printed
    assert "give both" in distill(model, model, original, tmp_path / "run", "--original", original, code=2)


def test_the_loss_asks_for_the_goals_and_for_their_cosines():
    goals = torch.eye(3)
    assert embedding_loss(goals * 7, goals * 5, goals).item() == pytest.approx(0, abs=1e-6)
    # Right by way of the projection, and all alike before it: 6 of 9 cosines are 1 in place of 0.
    assert embedding_loss(torch.ones(3, 2), goals, goals).item() == pytest.approx(10 * 6 / 9, abs=1e-5)
    assert embedding_loss(goals, goals[[1, 2, 0]], goals).item() == pytest.approx(1, abs=1e-6)
    # Where the teacher was not asked, there is nothing to learn, and it can still be passed back.
    none = torch.zeros(0, 3, requires_grad=True)
    embedding_loss(none, none, goals[:0]).backward()


def test_a_projection_begins_where_it_fits_best():
    rng = np.random.default_rng(4)
    wanted = rng.normal(size=(5, 3)).astype(np.float32)
    found = rng.normal(size=(40, 3)).astype(np.float32)
    assert fit(found, found @ wanted.T).numpy() == pytest.approx(wanted, abs=1e-4)


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
        (lambda rows: [rows[0], rows[1].replace("\t1\t", "\t1\t4.9\t", 1), *rows[2:]], "other scores in row 2"),
    ],
)
def test_rows_that_do_not_belong_together_are_refused(translations, tmp_path, change, message):
    original, translation = translations
    for name in ("train.tsv", "dev.tsv"):
        rows = (translation / name).read_text().splitlines()
        same = (original / name).read_text().splitlines()
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "b").mkdir(exist_ok=True)
        (tmp_path / "a" / name).write_text("\n".join(same))
        (tmp_path / "b" / name).write_text("\n".join(change(rows) if name == "train.tsv" else rows))
    with pytest.raises(DataError, match=f"are not one another's translation: {message}"):
        load_translations(str(tmp_path / "a"), str(tmp_path / "b"))
