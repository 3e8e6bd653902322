"""Students that learn from teachers of another kind, from the command line."""

import json

import numpy as np
import pytest
import torch
from trident_training.checkpoints.loading import load_classifier, load_tokenizer
from trident_training.checkpoints.precision import Precision
from trident_training.classification.scoring import logits_of
from trident_training.cli import app
from trident_training.data.problems import DataError
from trident_training.data.texts import read_texts
from trident_training.finetune import teaching
from trident_training.finetune.folder import NoRoomError
from trident_training.finetune.teaching import Teacher, soft_cross_entropy
from trident_training.tasks.cola.task import TASK
from trident_training.tasks.qa.distillation import NEVER, QuestionWindow, transfer
from typer.testing import CliRunner


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIDENT_CACHE_DIR", str(tmp_path / "cache"))


def distill(task, teacher, student, data, output, *options, code=0):
    paths = ["--teacher", teacher, "--model", student, "--data", data, "--output", output]
    settings = ["--learning-rate", "3e-3", "--batch-size", "32"]
    done = CliRunner().invoke(app, ["distill", task, *map(str, [*paths, *settings, *options])])
    assert done.exit_code == code, done.output
    return " ".join(done.output.split())


def scores(output):
    return json.loads((output / "result.json").read_text())["best_epoch"]


@pytest.fixture
def mislabelled(toy_data, tmp_path):
    """Sentences to learn from whose labels are all wrong, and right ones to choose by."""
    folder = tmp_path / "mislabelled"
    folder.mkdir()
    rows = [line.split("\t") for line in (toy_data / "train.tsv").read_text().splitlines()]
    wrong = ["\t".join([source, str(1 - int(label)), mark, text]) for source, label, mark, text in rows]
    (folder / "train.tsv").write_text("\n".join(wrong) + "\n")
    (folder / "dev.tsv").write_text((toy_data / "dev.tsv").read_text())
    return folder


def test_a_classifier_learns_its_teachers_answers_and_not_the_labels(
    fine_tuned, tiny_checkpoint, mislabelled, tmp_path
):
    _, teacher = fine_tuned("cola")
    options = ("--validation-fraction", 0, "--max-length", 24, "--epochs", 4)
    # Another architecture, with another vocabulary.
    student = tiny_checkpoint("roberta")
    distill("cola", teacher, student, mislabelled, tmp_path / "taught", *options, "--alpha", 1)
    assert scores(tmp_path / "taught")["matthews_correlation"] > 0.8
    # Labels alone teach what is wrong, and the run says that it came to nothing.
    distill("cola", teacher, student, mislabelled, tmp_path / "told", *options, "--alpha", 0, code=1)
    epochs = json.loads((tmp_path / "told" / "result.json").read_text())["epochs"]
    assert epochs[-1]["matthews_correlation"] < 0
    # What is kept is a classifier like any other.
    classifier = load_classifier(str(tmp_path / "taught" / "best"), TASK.labels, 24, fine_tuned=True)
    assert type(classifier).__name__ == "RobertaForSequenceClassification"


def test_a_classifier_learns_from_text_without_labels(fine_tuned, tiny_checkpoint, toy_data, tmp_path):
    _, teacher = fine_tuned("cola")
    rows = [line.split("\t") for line in (toy_data / "train.tsv").read_text().splitlines()]
    few, text, folder = tmp_path / "text", tmp_path / "more.txt", tmp_path / "few"
    folder.mkdir()
    kept = [next(row for row in rows if row[1] == label) for label in "01"]
    (folder / "train.tsv").write_text("".join("\t".join(row) + "\n" for row in kept))
    dev = (toy_data / "dev.tsv").read_text()
    (folder / "dev.tsv").write_text(dev)
    few.write_text("\n".join(row[3] for row in kept))
    text.write_text("\n".join(row[3] for row in rows) + "\n\n" + dev.splitlines()[0].split("\t")[3] + "\n")
    options = ("--validation-fraction", 0, "--max-length", 24, "--epochs", 6)
    distill("cola", teacher, tiny_checkpoint("bert"), folder, tmp_path / "run", *options, "--text", text)
    assert scores(tmp_path / "run")["matthews_correlation"] > 0.8
    printed = distill(
        "cola", teacher, tiny_checkpoint("bert"), folder, tmp_path / "no", *options, "--text", few, code=1
    )
    assert "no text that the data set has not" in printed
    # Another text is another run.
    again = distill("cola", teacher, tiny_checkpoint("bert"), folder, tmp_path / "run", *options, code=1)
    assert "taught_data was" in again


def test_a_teacher_without_a_head_is_refused(tiny_checkpoint, toy_data, tmp_path):
    model = tiny_checkpoint("bert")
    printed = distill("cola", model, model, toy_data, tmp_path / "run", "--max-length", 24, code=1)
    assert "is not fine-tuned" in printed


@pytest.mark.parametrize(("precision", "tolerance"), [(Precision.FLOAT32, 1e-5), (Precision.BFLOAT16, 2e-2)])
def test_a_teacher_is_asked_once_and_goes_on_where_it_was_stopped(
    fine_tuned, monkeypatch, tmp_path, precision, tolerance
):
    monkeypatch.setattr(teaching, "resolve", lambda _: precision)
    monkeypatch.setattr(teaching, "CHUNK", 2)
    _, folder = fine_tuned("cola")
    texts = ["the dog sleeps", "sleeps dog the the the", "a cat", "cat a runs today", "home"]
    asked = []

    def teacher(length):
        return Teacher(load_classifier(str(folder), TASK.labels, length), load_tokenizer(folder), length)

    def answer(part):
        if "home" in part and len(asked) < 5:
            raise KeyboardInterrupt
        asked.extend(part)
        return logits_of(teacher(24).model, load_tokenizer(folder), part, 24)

    with pytest.raises(KeyboardInterrupt):
        teacher(24).answers(texts, answer)
    assert asked == texts[:4]
    asked.append("stopped")
    found = teacher(24).answers(texts, answer)
    assert asked == [*texts[:4], "stopped", texts[4]]
    exact = logits_of(teacher(24).model, load_tokenizer(folder), texts, 24)
    assert np.array(found) == pytest.approx(exact, abs=tolerance)
    assert (np.abs(np.array(found) - exact).max() > 1e-5) == (precision is Precision.BFLOAT16)
    # One that reads otherwise, computes otherwise, or has other weights, has other answers.
    known = teacher(24).digest
    assert known == teacher(24).digest != teacher(23).digest
    monkeypatch.setattr(teaching, "resolve", lambda _: Precision.INT8)
    assert (teacher(24).digest == known) == (precision is Precision.FLOAT32)
    monkeypatch.setattr(teaching, "resolve", lambda _: precision)
    other = load_classifier(str(folder), TASK.labels, 24)
    with torch.no_grad():
        next(iter(other.parameters()))[0, 0] += 1e-3
    assert Teacher(other, load_tokenizer(folder), 24).digest != teacher(24).digest


def test_a_teacher_answers_where_its_answers_cannot_be_kept_and_says_so(fine_tuned, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(teaching, "CHUNK", 2)
    (tmp_path / "file").touch()
    monkeypatch.setenv("TRIDENT_CACHE_DIR", str(tmp_path / "file"))
    _, folder = fine_tuned("cola")
    teacher = Teacher(load_classifier(str(folder), TASK.labels, 24), load_tokenizer(folder), 24)
    found = teacher.answers(list("abcd"), lambda part: np.array([[ord(each)] for each in part], dtype=np.float32))
    assert np.array(found)[:, 0].tolist() == [97, 98, 99, 100]
    said = capsys.readouterr().err
    assert said.count("answers are not kept: ") == 1
    assert "file/teachers" in said
    assert "Not a directory. TRIDENT_CACHE_DIR names another folder." in said

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("TRIDENT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(np, "save", full)
    with pytest.raises(NoRoomError, match=r"answers in .*or choose .*TRIDENT_CACHE"):
        teacher.answers(["e"], lambda part: np.zeros((1, 1)))
    assert not [*(tmp_path / "cache").rglob("*.*")]


def test_a_log_says_now_and_then_how_far_the_teacher_is(fine_tuned, monkeypatch, capsys):
    _, folder = fine_tuned("cola")
    teacher = Teacher(load_classifier(str(folder), TASK.labels, 24), load_tokenizer(folder), 24)
    monkeypatch.setattr(teaching, "CHUNK", 2)
    for every, lines in ((0.0, ["The teacher answered 2 of 3", "The teacher answered 3 of 3"]), (3600.0, [])):
        monkeypatch.setattr(teaching, "REPORT_SECONDS", every)
        teacher.answers(["a", "b", "c"], lambda part: np.zeros((len(part), 1)))
        assert capsys.readouterr().err.split("\n")[:-1] == lines


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY"])
def test_answers_that_cannot_be_read_are_asked_for_again(fine_tuned, tmp_path, content):
    _, folder = fine_tuned("cola")
    teacher = Teacher(load_classifier(str(folder), TASK.labels, 24), load_tokenizer(folder), 24)
    for _ in range(2):
        assert teacher.answers(["a"], lambda part: np.full((1, 1), 7.0))[0].tolist() == [7.0]
        (file,) = (tmp_path / "cache").rglob("*.npy")
        file.write_bytes(content)


def test_soft_targets_ask_for_the_teachers_distribution():
    teacher = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    # A constant added to all logits says nothing.
    assert soft_cross_entropy(teacher + 3, teacher, 2.0).tolist() == pytest.approx([0, 0], abs=1e-6)
    found = soft_cross_entropy(torch.zeros(2, 2), teacher, 2.0)
    wanted = 1 / (1 + np.exp(-1))
    divergence = wanted * np.log(wanted / 0.5) + (1 - wanted) * np.log((1 - wanted) / 0.5)
    assert found.tolist() == pytest.approx([4 * divergence, 0], abs=1e-6)


def test_a_text_is_taken_once_and_not_where_it_is_known(tmp_path):
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_bytes("\ufeffone\r\n\r\n two \n".encode())
    second.write_text("two\nthree\n")
    assert read_texts([first, second], {"one"}) == ["two", "three"]
    assert read_texts([]) == []
    with pytest.raises(DataError, match=r"no-such\.txt cannot be read"):
        read_texts([tmp_path / "no-such.txt"])
    second.write_bytes(b"a\xff")
    with pytest.raises(DataError, match="not UTF-8 at byte 1"):
        read_texts([second])


@pytest.mark.slow
def test_a_reader_learns_where_its_teacher_sees_answers_and_not_the_labels(
    fine_tuned, tiny_checkpoint, toy_squad, tmp_path
):
    _, teacher = fine_tuned("qa")
    articles = json.loads(toy_squad.read_text())["data"]
    data, text = tmp_path / "data", tmp_path / "text.json"
    data.mkdir()
    (data / "dev.json").write_text(json.dumps({"data": articles[:10]}))
    text.write_text(json.dumps({"data": articles[5:50]}))
    for article in articles:
        for paragraph in article["paragraphs"]:
            # Every answer is the first word.
            wrong = {"text": paragraph["context"].split()[0], "answer_start": 0}
            for question in paragraph["qas"]:
                question["answers"] = [wrong]
    (data / "train.json").write_text(json.dumps({"data": articles[50:]}))
    options = ("--validation-fraction", 0, "--max-length", 40, "--doc-stride", 8, "--epochs", 5, "--alpha", 1)
    # Another architecture, with another vocabulary and other offsets.
    student = tiny_checkpoint("roberta")
    distill("qa", teacher, student, data, tmp_path / "run", *options, "--text", text)
    assert scores(tmp_path / "run")["f1"] > 50


def test_a_teachers_tokens_count_for_the_students_that_hold_their_ends(tiny_checkpoint):
    tokenizer = load_tokenizer(str(tiny_checkpoint("bert")))
    text = "the dog runs home"
    encoded = tokenizer(["a?"], [text], return_offsets_mapping=True)
    inside = [place for place, sequence in enumerate(encoded.sequence_ids(0)) if sequence == 1]
    offsets = [encoded["offset_mapping"][0][place] for place in inside]
    logits = np.arange(2.0 * len(encoded["input_ids"][0]), dtype=np.float32).reshape(2, -1)
    # The same tokens, two places on in the student's row.
    target = np.full((2, 32), NEVER, dtype=np.float16)
    transfer(logits, encoded, QuestionWindow("a?", text, inside[0] + 2, np.array(offsets)), target)
    assert target[:, 0].tolist() == logits[:, 0].tolist()
    assert np.array_equal(target[:, inside[0] + 2 : inside[-1] + 3], logits[:, inside])
    assert (target != NEVER).sum() == 2 * (len(inside) + 1)
    # One token of all of the text begins and ends where any of the teacher's does: chances add up.
    target = np.full((2, 32), NEVER, dtype=np.float32)
    transfer(logits, encoded, QuestionWindow("a?", text, 5, np.array([[0, len(text)]])), target)
    assert target[:, 5] == pytest.approx(np.logaddexp.reduce(logits[:, inside], axis=1))
    # The student's tokens are letters: an answer begins at the first of a word's and ends at its last one.
    letters = [(place, place + 1) for place, letter in enumerate(text) if letter != " "]
    target = np.full((2, 32), NEVER, dtype=np.float32)
    transfer(logits, encoded, QuestionWindow("a?", text, 5, np.array(letters)), target)
    begins, ends = (
        [letters.index((place, place + 1)) for place in places]
        for places in ([first for first, _ in offsets], [after - 1 for _, after in offsets])
    )
    assert [place - 5 for place in np.flatnonzero(target[0, 1:] != NEVER) + 1] == begins
    assert [place - 5 for place in np.flatnonzero(target[1, 1:] != NEVER) + 1] == ends
