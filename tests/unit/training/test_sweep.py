"""Sweeps: the table, what is best, and that one model's failure or an interruption loses nothing."""

import csv
import json
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModel, AutoTokenizer
from trident_training.cli import app
from trident_training.commands import steps
from trident_training.finetune.epochs import rank
from trident_training.finetune.run import Result
from trident_training.finetune.sweep import Failed, Trained, best_of, markdown, sweep
from typer.testing import CliRunner


def result(*epochs: tuple[float, float], collapsed=None) -> Result:
    rows = [{"epoch": i, "matthews_correlation": value, "loss": loss} for i, (value, loss) in enumerate(epochs, 1)]
    return Result(None, "matthews_correlation", rows, {}, collapsed)


def test_the_best_is_by_the_metric_and_ties_by_loss():
    entries = [
        Trained("a", result((0.5, 0.9), (0.4, 0.1))),
        Failed("b", "out of memory"),
        Trained("c", result((0.1, 0.8), (0.5, 0.7), (0.5, 0.8))),
        Trained("d", result((float("nan"), 0.1))),
    ]
    assert best_of(entries).name == "c"
    assert best_of(entries).result.best_epoch["epoch"] == 2
    assert best_of(entries[1:2]) is None
    table = markdown(entries)
    assert "| c | 0.100 | **0.500** | 0.500 | 0.700 | best |" in table
    assert "| b | | | | | failed: out of memory |" in table
    assert rank({"matthews_correlation": 0.1, "loss": float("nan")}, "matthews_correlation") < (0.1, -9.0)


def test_a_model_that_fails_does_not_lose_the_others(tmp_path):
    reported = []

    def asserts(folder: Path) -> Result:
        raise AssertionError

    def fails(folder: Path) -> Result:
        raise RuntimeError("no such model\nand more")

    def works(folder: Path) -> Result:
        return result((0.3, 0.5))

    entries = sweep({"one": works, "bad": fails, "org/two": works, "worse": asserts}, tmp_path, reported.append)
    failed = [(entry.name, entry.reason) for entry in entries if isinstance(entry, Failed)]
    assert failed == [("bad", "RuntimeError: no such model"), ("worse", "AssertionError")]
    assert reported == entries


def test_candidates_that_would_share_a_folder_are_refused(tmp_path):
    with pytest.raises(ValueError, match="same name"):
        sweep({"x/same": lambda folder: None, "y/same": lambda folder: None}, tmp_path, print)


@pytest.mark.slow
@pytest.mark.pictures
def test_a_sweep_from_the_command_line(tiny_checkpoint, toy_data, tmp_path):
    models = f"{tiny_checkpoint('distilbert')},{tiny_checkpoint('electra')},/nowhere/tiny"
    arguments = ["sweep", "cola", "--models", models, "--data", str(toy_data), "--output", str(tmp_path)]
    options = ["--epochs", "2", "--learning-rate", "3e-3", "--batch-size", "32", "--max-length", "24"]
    first = CliRunner().invoke(app, arguments + options)
    # Few epochs may answer everything alike, which is told by status 1.
    assert first.exit_code in (0, 1), first.output
    assert "there is no folder /nowhere/tiny" in first.output
    rows = list(csv.DictReader((tmp_path / "sweep.csv").open()))
    assert [row["model"].rsplit("/")[-1] for row in rows] == ["distilbert"] * 2 + ["electra"] * 2
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
    best = max(rows, key=lambda row: (float(row["matthews_correlation"]), -float(row["loss"])))
    kept = json.loads((tmp_path / "best" / "result.json").read_text())
    assert kept["best_epoch"]["loss"] == pytest.approx(float(best["loss"]))
    # What is done is not done again.
    written = (tmp_path / "electra" / "best" / "model.safetensors").stat().st_mtime_ns
    assert CliRunner().invoke(app, arguments + options).exit_code == first.exit_code
    assert (tmp_path / "electra" / "best" / "model.safetensors").stat().st_mtime_ns == written


def test_a_collapsed_model_is_not_ticked_nor_is_it_as_the_best(toy_data, tmp_path, monkeypatch):
    def train(task, data, settings, choices):
        settings.output.joinpath("best").mkdir(parents=True)
        epoch = {"epoch": 1.0, "loss": 1.0, "matthews_correlation": 0.0}
        return Result(settings.output / "best", "matthews_correlation", [epoch], {}, "the model collapsed"), None

    monkeypatch.setattr(steps, "train", train)
    arguments = ["sweep", "cola", "--models", "a,b", "--data", str(toy_data), "--output", str(tmp_path)]
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    printed = " ".join(done.output.split())
    assert done.exit_code == 1
    for line in ("✗ a: matthews_correlation 0.000", "✗ b: matthews_correlation 0.000", "✗ best: a, in"):
        assert line in printed
    assert printed.count("the model collapsed") == 3
    assert "✓" not in printed


def test_a_sweep_of_nothing_names_the_presets(toy_data, tmp_path):
    done = CliRunner().invoke(app, ["sweep", "cola", "--data", str(toy_data), "--output", str(tmp_path / "sweep")])
    assert done.exit_code == 1
    assert "cola-bundled" in done.output


@pytest.mark.slow
def test_a_sweep_of_models_and_heads(tiny_checkpoint, pairs, tmp_path):
    like_klue = with_bert_tokenizer(tiny_checkpoint, tmp_path / "roberta")
    models = f"{tiny_checkpoint('bert')},{like_klue}"
    heads = ["--heads", "max-cosent, cross-encoder,next-sentence", "--metric", "f1", "--language", "en"]
    options = ["--epochs", "1", "--learning-rate", "3e-3", "--batch-size", "32", "--max-length", "24"]
    arguments = ["sweep", "sts", "--models", models, "--data", str(pairs), "--output", str(tmp_path / "all")]
    done = CliRunner().invoke(app, arguments + heads + options)
    assert done.exit_code == 0, done.output
    printed = " ".join(done.output.split())
    assert "only BERT judges the next sentence" in printed
    assert "test, overlap" in printed
    rows = list(csv.DictReader((tmp_path / "all" / "sweep.csv").open()))
    ran = {row["model"].rpartition("/")[2] for row in rows}
    assert ran == {"bert max-cosent", "bert cross-encoder", "bert next-sentence", "roberta max-cosent"} | {
        "roberta cross-encoder"
    }
    best = max(rows, key=lambda row: (float(row["f1"]), -float(row["loss"])))
    card = json.loads((tmp_path / "all" / "best" / "similarity.json").read_text())
    assert card["kind"] == ("bi-encoder" if "cosent" in best["model"] else best["model"].rpartition(" ")[2])
    assert card["languages"] == ["en"]
    assert 0 < card["threshold"] < 1
    assert (tmp_path / "all" / "bert-cross-encoder" / "similarity.png").is_file()


def test_a_head_that_there_is_not_names_those_that_there_are(tmp_path):
    done = CliRunner().invoke(app, ["sweep", "sts", "--heads", "mean,median", "--output", str(tmp_path)])
    assert done.exit_code == 2
    assert "no head 'median'" in " ".join(done.output.split())


def with_bert_tokenizer(tiny_checkpoint, folder) -> Path:
    """Write an encoder that has no token types and comes with BERT's tokenizer, as klue/roberta-base does."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint("bert"))
    config = AutoConfig.from_pretrained(tiny_checkpoint("roberta"), type_vocab_size=1, vocab_size=len(tokenizer))
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
