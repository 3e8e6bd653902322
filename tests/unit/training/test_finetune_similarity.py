"""Fine-tuning tiny models of similarity, of every kind, from the command line."""

import json

import numpy as np
import pytest
import torch
from datasets import Dataset
from trident_training.checkpoints.cleaning import Cleaning, with_cleaning
from trident_training.checkpoints.loading import load_tokenizer
from trident_training.checkpoints.pooling import Pooling, pooling_of
from trident_training.cli import app
from trident_training.tasks.sts.choices import Kind
from trident_training.tasks.sts.pairs import cosent, loss_function
from trident_training.tasks.sts.scoring import checkpoint_comparer
from typer.testing import CliRunner


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def finetune(pairs, checkpoint, output, *options, code=0):
    fixed = ["--epochs", 6, "--learning-rate", "3e-3", "--batch-size", 32, "--max-length", 24, "--language", "en"]
    return run(
        "finetune", "sts", "--model", checkpoint, "--data", pairs, "--output", output, *fixed, *options, code=code
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "options", "least"),
    [
        ("bert", ["--kind", "bi-encoder"], 0.8),
        ("roberta", ["--kind", "bi-encoder", "--loss", "cosent", "--pooling", "max"], 0.8),
        # Of its encoder and decoder, the encoder alone.
        ("t5", ["--kind", "bi-encoder"], 0.8),
        ("bert", ["--kind", "bi-encoder", "--pooling", "cls", "--lora-rank", 8, "--freeze-embeddings"], 0.2),
        ("bert", ["--kind", "cross-encoder", "--accumulation", 2], 0.7),
        ("distilbert", ["--kind", "two-layers", "--metric", "pearson"], 0.7),
        ("bert", ["--kind", "next-sentence", "--metric", "f1"], 0.7),
    ],
)
def test_every_kind_learns_and_is_read_back(tiny_checkpoint, pairs, dogs, tmp_path, architecture, options, least):
    pairs = pairs if options[1] == "bi-encoder" else dogs
    finetune(pairs, tiny_checkpoint(architecture), tmp_path / "run", *options)
    best = tmp_path / "run" / "best"
    result = json.loads((tmp_path / "run" / "result.json").read_text())["best_epoch"]
    card = json.loads((best / "similarity.json").read_text())
    assert card["kind"] == options[1]
    assert card["languages"] == ["en"]
    # Ranks depend on ties, and half precision makes some.
    assert card["metrics"]["pearson"] == pytest.approx(result["pearson"], abs=0.05)
    assert result["spearman"] > least
    assert {file.name for file in (tmp_path / "run").glob("*.png")} == {"similarity.png", "training.png"}
    # The figures of the very checkpoint, at its own threshold, not at one found on these pairs.
    scored = run("evaluate", "sts", "--checkpoint", best, "--data", pairs, "--max-length", 24)
    test = json.loads((best / "test_metrics.json").read_text())
    assert f"{test['spearman']:.4f}" in scored
    assert test["threshold"] == card["threshold"]
    assert f"{card['threshold']:.4f}" in scored


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["bert", "t5"])
def test_a_bi_encoder_is_a_sentence_transformers_model(tiny_checkpoint, pairs, tmp_path, architecture):
    from sentence_transformers import SentenceTransformer

    finetune(pairs, tiny_checkpoint(architecture), tmp_path / "run", "--pooling", "cls", "--epochs", 1)
    best = str(tmp_path / "run" / "best")
    assert pooling_of(best) is Pooling.CLS
    theirs = SentenceTransformer(best)
    rows = Dataset.from_dict({"sentence_1": ["the dog sleeps"], "sentence_2": ["a cat laughs"], "score": [1.0]})
    first, second = theirs.encode(["the dog sleeps", "a cat laughs"])
    comparer, _ = checkpoint_comparer(best, 24)
    assert comparer(rows) == pytest.approx(np.dot(first, second), abs=1e-5)
    theirs.save_pretrained(str(tmp_path / "theirs"))
    assert pooling_of(str(tmp_path / "theirs")) is Pooling.CLS


def test_a_model_that_goes_on_after_pooling_is_refused(tmp_path):
    (tmp_path / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Dense"}]))
    with pytest.raises(
        ValueError, match=r"has sentence_transformers.models.Dense; Normalize, Pooling, Transformer are"
    ):
        pooling_of(str(tmp_path))


def test_pooling_takes_no_padding_in():
    hidden = torch.tensor([[[1.0, -5.0], [3.0, -1.0], [99.0, 99.0]]])
    mask = torch.tensor([[1, 1, 0]])
    assert Pooling.MEAN.of_padded(hidden, mask).tolist() == [[2.0, -3.0]]
    assert Pooling.MAX.of_padded(hidden, mask).tolist() == [[3.0, -1.0]]
    assert Pooling.CLS.of_padded(hidden, mask).tolist() == [[1.0, -5.0]]


def test_cosent_asks_for_the_right_order():
    labels = torch.tensor([0.0, 0.5, 1.0])
    right, wrong = torch.tensor([0.1, 0.2, 0.9]), torch.tensor([0.9, 0.2, 0.1])
    # log(1 + sum of exp 20 (lower - higher)) over the three pairs.
    expected = np.log(1 + np.exp(20 * -0.1) + np.exp(20 * -0.8) + np.exp(20 * -0.7))
    assert cosent(right, labels).item() == pytest.approx(expected, rel=1e-5)
    assert cosent(wrong, labels) > cosent(right, labels)


def test_passes_that_make_one_step_count_by_their_pairs():
    loss = loss_function(Kind.CROSS_ENCODER, "mse")
    logits, labels = torch.tensor([[0.0], [1.0], [0.5]]), torch.tensor([1.0, 1.0, 1.0])
    parts = [loss({"logits": logits[part]}, labels[part], 3) for part in (slice(0, 1), slice(1, 3))]
    assert sum(parts).item() == pytest.approx(loss({"logits": logits}, labels).item())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--kind", "cross-encoder", "--loss", "cosent"], "are of a bi-encoder; cross-encoder takes neither"),
        (["--kind", "two-layers", "--pooling", "max"], "are of a bi-encoder; two-layers takes neither"),
    ],
)
def test_choices_that_do_not_go_together_are_refused(tiny_checkpoint, pairs, tmp_path, options, message):
    assert message in finetune(pairs, tiny_checkpoint("bert"), tmp_path, *options, code=2).replace("│ │ ", "")


def test_scores_that_end_at_one_are_refused_before_anything_is_trained(tiny_checkpoint, tmp_path):
    lines = [f"one {index},two {index},{index % 11 / 10}" for index in range(50)]
    (tmp_path / "train.csv").write_text("\n".join(["sentence1,sentence2,score", *lines]))
    printed = finetune(tmp_path, tiny_checkpoint("bert"), tmp_path / "run", code=1)
    assert "no score is above 1, and 5 stands for the same meaning; --scale 1" in printed
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.pictures
def test_pairs_that_are_all_similar_are_trained_on_and_drawn(tiny_checkpoint, alike, tmp_path):
    finetune(alike, tiny_checkpoint("bert"), tmp_path / "run", "--epochs", 2)
    for picture in ("training.png", "similarity.png"):
        assert (tmp_path / "run" / picture).stat().st_size > 5_000


def test_only_bert_judges_the_next_sentence(tiny_checkpoint, pairs, tmp_path):
    output = finetune(pairs, tiny_checkpoint("roberta"), tmp_path, "--kind", "next-sentence", code=1)
    assert "only BERT judges the next sentence" in output


@pytest.mark.parametrize(
    ("cleaning", "text", "same_as"),
    [(Cleaning.HANGUL, "the 고양이, dog!", " 고양이 "), (Cleaning.SPACES, "the \t\n dog", "the dog")],
)
def test_clean_up_is_part_of_the_tokenizer_and_is_kept_with_it(tiny_checkpoint, tmp_path, cleaning, text, same_as):
    plain = load_tokenizer(str(tiny_checkpoint("bert")))
    cleaned = with_cleaning(load_tokenizer(str(tiny_checkpoint("bert"))), cleaning)
    assert cleaned(text)["input_ids"] == plain(same_as)["input_ids"]
    cleaned.save_pretrained(tmp_path)
    assert load_tokenizer(str(tmp_path))(text)["input_ids"] == plain(same_as)["input_ids"]


@pytest.mark.slow
def test_the_commands_option_cleans(tiny_checkpoint, pairs, tmp_path):
    finetune(pairs, tiny_checkpoint("bert"), tmp_path / "run", "--clean", "hangul", "--epochs", 1)
    tokenizer = load_tokenizer(str(tmp_path / "run" / "best"))
    assert tokenizer("the dog")["input_ids"] == tokenizer("")["input_ids"]
