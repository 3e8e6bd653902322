"""Sweeps: the table, what is best, and that one model's failure or an interruption loses nothing."""

import csv
import json

import pytest
from trident_training.cli import app
from trident_training.finetune.run import Result, rank
from trident_training.finetune.settings import Settings
from trident_training.finetune.sweep import Entry, best_of, markdown, sweep
from typer.testing import CliRunner


def result(*epochs: tuple[float, float], collapsed=None) -> Result:
    rows = [{"epoch": i, "matthews_correlation": value, "loss": loss} for i, (value, loss) in enumerate(epochs, 1)]
    return Result(None, "matthews_correlation", rows, {}, collapsed)


def test_the_best_is_by_the_metric_and_ties_by_loss():
    entries = [
        Entry("a", result((0.5, 0.9), (0.4, 0.1))),
        Entry("b", None, "out of memory"),
        Entry("c", result((0.1, 0.8), (0.5, 0.7), (0.5, 0.8))),
        Entry("d", result((float("nan"), 0.1))),
    ]
    assert best_of(entries).model == "c"
    assert best_of(entries).result.best_epoch["epoch"] == 2
    assert best_of(entries[1:2]) is None
    table = markdown(entries)
    assert "| c | 0.100 | **0.500** | 0.500 | 0.700 | best |" in table
    assert "| b | | | | | failed: out of memory |" in table
    assert rank({"matthews_correlation": 0.1, "loss": float("nan")}, "matthews_correlation") < (0.1, -9.0)


def test_a_model_that_fails_does_not_lose_the_others(tmp_path):
    told = []

    def train(settings: Settings) -> Result:
        if settings.model == "bad":
            raise RuntimeError("no such model\nand more")
        return result((0.3, 0.5))

    entries = sweep(["one", "bad", "org/two"], Settings(tmp_path), train, told.append)
    assert [entry.failure for entry in entries] == [None, "RuntimeError: no such model", None]
    assert told == entries


def test_models_that_would_share_a_folder_are_refused(tmp_path):
    with pytest.raises(ValueError, match="same name"):
        sweep(["x/same", "y/same"], Settings(tmp_path), lambda settings: None, print)


def test_a_sweep_from_the_command_line(tiny_checkpoint, toy_data, tmp_path):
    models = f"{tiny_checkpoint('distilbert')},{tiny_checkpoint('electra')},/nowhere/tiny"
    arguments = ["sweep", "cola", "--models", models, "--data", str(toy_data), "--output", str(tmp_path)]
    options = ["--epochs", "2", "--learning-rate", "3e-3", "--batch-size", "32", "--max-length", "24"]
    first = CliRunner().invoke(app, arguments + options)
    assert first.exit_code == 0, first.output
    assert "there is no folder /nowhere/tiny" in first.output
    rows = list(csv.DictReader((tmp_path / "sweep.csv").open()))
    assert [row["model"].rsplit("/")[-1] for row in rows] == ["distilbert"] * 2 + ["electra"] * 2
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
    best = max(rows, key=lambda row: (float(row["matthews_correlation"]), -float(row["loss"])))
    kept = json.loads((tmp_path / "best" / "result.json").read_text())
    assert kept["best_epoch"]["loss"] == pytest.approx(float(best["loss"]))
    # What is done is not done again.
    written = (tmp_path / "electra" / "best" / "model.safetensors").stat().st_mtime_ns
    assert CliRunner().invoke(app, arguments + options).exit_code == 0
    assert (tmp_path / "electra" / "best" / "model.safetensors").stat().st_mtime_ns == written


def test_a_sweep_of_nothing_names_the_presets(toy_data, tmp_path):
    done = CliRunner().invoke(app, ["sweep", "cola", "--data", str(toy_data), "--output", str(tmp_path / "sweep")])
    assert done.exit_code == 1
    assert "cola-bundled" in done.output
