"""What the intermediate stage makes of sentences and templates, and that a model trains on it."""

import json
import random
import re

import pytest
from trident_training.checkpoints.loading import load_classifier
from trident_training.cli import app
from trident_training.data.problems import DataError
from trident_training.finetune.lora import merged, with_lora
from trident_training.finetune.settings import Settings
from trident_training.tasks.cola.intermediate import minimal_pairs
from trident_training.tasks.cola.intermediate.corruption import Corrupter, words
from trident_training.tasks.cola.intermediate.examples import make_examples, read_sentences
from trident_training.tasks.cola.intermediate.minimal_pairs import CLASSES, SLOT, TEMPLATES, inflect, minimal_pair
from trident_training.tasks.cola.intermediate.stage import WordMarking
from trident_training.tasks.cola.task import TASK
from typer.testing import CliRunner

TEXT = [
    "The old man walks to the market every day.",
    "She gives her friends the keys of the house.",
    "Were they walking in the park when it happened?",
    "고양이가 the cat 🐟 saw a mouse in it.",
]


def test_every_template_is_filled_from_the_lexicon_and_no_pair_is_one_sentence_twice():
    used = {match.group(1) for template in TEMPLATES for sentence in template for match in SLOT.finditer(sentence)}
    assert used <= set(CLASSES)
    assert all(len(template) > 1 for template in TEMPLATES)
    rng = random.Random(1)
    for good, bad in (minimal_pair(rng) for _ in range(5000)):
        assert good != bad
        assert not re.search(r"[<>|]|  ", good + bad)
        assert good[0].isupper()


def test_both_sentences_of_a_pair_have_the_same_words_in_the_same_slots(monkeypatch):
    monkeypatch.setattr(minimal_pairs, "TEMPLATES", [["<man> saw <man2>.", "<man2> <man>."]])
    monkeypatch.setattr(minimal_pairs, "OPENINGS", [""])
    for seed in range(50):
        good, bad = minimal_pair(random.Random(seed))
        first, second = good.removesuffix(".").split(" saw ")
        assert first != second
        assert bad == f"{second} {first}."


@pytest.mark.parametrize(
    ("word", "form", "expected"),
    [
        ("child", "pl", "children"),
        ("city", "pl", "cities"),
        ("boy", "pl", "boys"),
        ("box", "pl", "boxes"),
        ("carry", "s", "carries"),
        ("wash", "s", "washes"),
        ("carry", "past", "carried"),
        ("bake", "past", "baked"),
        ("stop", "past", "stopped"),
        ("give", "past", "gave"),
        ("give", "en", "given"),
        ("bake", "ing", "baking"),
        ("swim", "ing", "swimming"),
        ("see", "ing", "seeing"),
        ("tie", "past", "tied"),
    ],
)
def test_words_are_inflected(word, form, expected):
    assert inflect(word, form) == expected


def test_a_broken_sentence_differs_and_marks_where():
    corrupter, rng = Corrupter([words(text) for text in TEXT * 5]), random.Random(3)
    for _ in range(500):
        sentence = words(rng.choice(TEXT))
        broken = corrupter.corrupt(sentence, rng)
        assert broken is not None
        assert [word.lower() for word in broken.words] != [word.lower() for word in sentence]
        assert len(broken.words) == len(broken.marks)
        assert set(broken.marks) <= {0, 1}
        assert any(broken.marks)


@pytest.mark.parametrize("sentence", [["Yes"], ["."], ["🐟", "."]])
def test_what_no_rule_fits_is_left(sentence):
    broken = Corrupter([sentence]).corrupt(sentence, random.Random(0))
    assert broken is None or any(broken.marks)


def test_half_of_the_examples_are_acceptable_and_the_same_seed_makes_the_same():
    examples = list(make_examples(TEXT, TEXT, 2000, seed=5))
    assert 0.45 < sum(example.label for example in examples) / len(examples) < 0.6
    assert all(any(example.marks) != bool(example.label) for example in examples)
    assert examples == list(make_examples(TEXT, TEXT, 2000, seed=5))
    assert examples != list(make_examples(TEXT, TEXT, 2000, seed=6))


def test_sentences_are_read_from_squad_and_from_lines(tmp_path):
    questions = [{"question": "How far did he go?"}]
    paragraphs = [{"context": "It is a long way to go. No. He left us early.", "qas": questions}]
    (tmp_path / "squad.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    expected = ["It is a long way to go.", "He left us early.", "How far did he go?"]
    assert read_sentences(tmp_path / "squad.json") == expected
    lines = ["It is a long way to go.", "no end", "", "He left us early.", "It is a long way to go."]
    (tmp_path / "lines.txt").write_text("\n".join(lines))
    assert read_sentences(tmp_path / "lines.txt") == expected[:2]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", b'{"version": 1}', "neither SQuAD's JSON"),
        ("a.txt", b"caf\xe9", "nor text in UTF-8"),
        ("a.txt", b"short.\n", "no sentence of 4 to 15 words"),
    ],
)
def test_texts_that_hold_no_sentences_are_refused(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=says):
        read_sentences(tmp_path / name)
    with pytest.raises(DataError, match="there is no file"):
        read_sentences(tmp_path / "nowhere.txt")


def test_sentences_to_choose_by_of_one_label_are_refused(tiny_checkpoint, tmp_path):
    (tmp_path / "text.txt").write_text("\n".join(TEXT))
    (tmp_path / "train.tsv").write_text("".join(f"a\t1\t\tSentence {n}.\n" for n in range(20)))
    options = ["--text", tmp_path / "text.txt", "--data", tmp_path / "train.tsv", "--output", tmp_path / "run"]
    done = CliRunner().invoke(app, ["intermediate", "--model", str(tiny_checkpoint("bert")), *map(str, options)])
    assert done.exit_code == 1
    assert "every sentence of the validation set has the label 1 (acceptable)" in " ".join(done.output.split())


@pytest.mark.slow
def test_a_model_is_trained_on_made_sentences_and_fine_tuned_from_there(tiny_checkpoint, toy_data, tmp_path):
    (tmp_path / "text.txt").write_text("\n".join(TEXT))
    common = ["--data", str(toy_data), "--epochs", "1", "--learning-rate", "3e-3", "--max-length", "24"]
    made = ["--text", str(tmp_path / "text.txt"), "--examples", "2000", "--output", str(tmp_path / "made")]
    first = CliRunner().invoke(app, ["intermediate", "--model", str(tiny_checkpoint("bert")), *made, *common])
    assert (tmp_path / "made" / "best" / "config.json").is_file(), first.output
    further = ["--model", str(tmp_path / "made" / "best"), "--output", str(tmp_path / "tuned")]
    second = CliRunner().invoke(app, ["finetune", "cola", *further, *common])
    assert (tmp_path / "tuned" / "best" / "model.safetensors").is_file(), second.output


def test_low_rank_adapters_go_on_the_encoder_and_both_heads_are_trained_whole(tiny_checkpoint, tmp_path):
    classifier = load_classifier(str(tiny_checkpoint("bert")), TASK.labels, 24)
    model = with_lora(WordMarking(classifier), Settings(output=tmp_path, lora_rank=2))
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    whole = {name.partition(".modules_to_save.")[0].rpartition(".")[2] for name in trained if "lora_" not in name}
    assert whole == {"words", "classifier"}
    assert any("encoder.layer.0.attention" in name for name in trained)
    merged(model).save_pretrained(tmp_path / "made")
    assert load_classifier(str(tmp_path / "made"), TASK.labels, 24, fine_tuned=True).config.num_labels == 2
