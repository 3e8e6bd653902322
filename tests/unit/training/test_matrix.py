"""Every verb on every task, from the command line, on tiny checkpoints: the table has no hole."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from fine_tuned import EPOCHS, FURTHER, LEARN, SIZES, run
from safetensors.torch import load_file, save_file
from trident_training.checkpoints import bundled
from trident_training.cli import VERBS
from trident_training.tasks import find_tasks

TASKS = find_tasks()
#: Beyond chance: of most metrics up to 1, and of F1 up to 100.
LEARNED = {"qa": 50}


def spoiled(best: Path, folder: Path) -> Path:
    """Write a checkpoint whose encoder makes every token alike, so that it scores as chance does."""
    shutil.copytree(best, folder)
    weights = load_file(best / "model.safetensors")
    last = [name for name in weights if "layer.1.output.LayerNorm" in name]
    assert last
    for name in last:
        weights[name] = torch.ones_like(weights[name]) if name.endswith("bias") else torch.zeros_like(weights[name])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_the_help_names_every_verb_and_task():
    printed = run("--help")
    for verb in VERBS:
        assert verb in printed
        tasks = run(verb, "--help")
        for task in TASKS:
            assert f" {task} " in tasks
            assert "--" in run(verb, task, "--help")
    assert "Tasks: classify, cola, qa, rerank, sts." in printed
    # Each is run below, for every task.
    assert all(f"test_{verb}" in globals() for verb in VERBS)


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_finetune(task, fine_tuned):
    printed, best = fine_tuned(task)
    result = json.loads((best / "result.json").read_text())
    assert f"{result['primary']} " in printed
    assert result["best_epoch"][TASKS[task].primary] > LEARNED.get(task, 0.3)
    assert len(result["epochs"]) == EPOCHS[task]
    assert all((best / name).is_file() for name in TASKS[task].companions)


@pytest.mark.parametrize("task", sorted(set(TASKS) - {"sts"}))
def test_heads_on_a_decoder_are_refused_in_a_sentence(task, sources, tiny_checkpoint, repository, tmp_path):
    checkpoint, output = tiny_checkpoint("t5"), tmp_path / "run"
    reason = "of the type t5, whose heads stand on a decoder, which is not served; encoders of BERT's kind are accepted"
    assert reason in run("finetune", task, "--model", checkpoint, "--data", sources[task], "--output", output, code=1)
    assert not output.exists()
    assert reason in run("evaluate", task, "--checkpoint", checkpoint, "--data", sources[task], code=1)
    assert reason in run("export", task, "--checkpoint", checkpoint, "--repository", repository, code=1)


def test_a_cross_encoder_on_a_decoder_is_refused_in_a_sentence(sources, tiny_checkpoint, tmp_path):
    options = ["--kind", "cross-encoder", "--output", tmp_path / "run"]
    printed = run("finetune", "sts", "--model", tiny_checkpoint("t5"), "--data", sources["sts"], *options, code=1)
    assert "encoders of BERT's kind are accepted, and for a bi-encoder of sts those of T5's" in printed


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_sweep(task, sources, tiny_checkpoint, tmp_path, monkeypatch):
    # Stand-ins of the three bundled encoders, each of its architecture.
    monkeypatch.setattr(bundled, "get_model_path", lambda: tiny_checkpoint("bert"))
    made = {"base": "mpnet", "multilingual": "albert"}
    monkeypatch.setattr(bundled, "cached_encoder", lambda name, source: tiny_checkpoint(made[name]))
    preset = ["--preset", f"{task}-bundled", "--data", sources[task], "--output", tmp_path]
    # One epoch may answer everything alike, which is told by status 1.
    printed = run("sweep", task, *preset, "--epochs", 1, *LEARN, *FURTHER.get(task, []), code=(0, 1))
    assert "best: " in printed
    assert all((tmp_path / "best" / name).is_file() for name in ("model.safetensors", *TASKS[task].companions))
    # A row of the table for each, of different encoders, and their curves.
    ran = list(csv.DictReader((tmp_path / "sweep.csv").open()))
    assert [row["model"].split()[0] for row in ran] == ["small", "base", "multilingual"]
    assert all(f"| {row['model']} |" in (tmp_path / "sweep.md").read_text() for row in ran)
    assert (tmp_path / "sweep.png").is_file()
    kinds = [json.loads(file.read_text())["model_type"] for file in tmp_path.glob("*/best/config.json")]
    assert sorted(kinds) == ["albert", "bert", "mpnet"]
    unknown = run("sweep", task, "--preset", "none-such", "--data", sources[task], "--output", tmp_path, code=2)
    assert f"{next(iter(TASKS[task].presets))}" in unknown


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_distill(task, fine_tuned, sources, tiny_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("TRIDENT_CACHE_DIR", str(tmp_path / "cache"))
    _, teacher = fine_tuned(task)
    models = ["--teacher", teacher, "--model", tiny_checkpoint("distilbert"), "--data", sources[task]]
    options = ["--output", tmp_path / "run", "--epochs", EPOCHS[task], *LEARN, *FURTHER.get(task, [])]
    printed = run("distill", task, *models, *options)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert f"{result['primary']} " in printed
    assert result["best_epoch"][TASKS[task].primary] > LEARNED.get(task, 0.3)
    best = tmp_path / "run" / "best"
    assert all((best / name).is_file() for name in ("model.safetensors", *TASKS[task].companions))


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_tune(task, sources, tiny_checkpoint, tmp_path):
    study = ["--trials", 1, "--most-epochs", 1, "--learning-rates", "1e-3", "4e-3", "--batch-sizes", 8, *SIZES]
    model = ["--model", tiny_checkpoint("bert"), "--data", sources[task], "--output", tmp_path]
    # One short trial may answer everything alike, which is told by status 1.
    printed = run("tune", task, *model, *study, *FURTHER.get(task, []), code=(0, 1))
    assert "best: trial 0" in printed
    assert all((tmp_path / "best" / name).is_file() for name in ("model.safetensors", *TASKS[task].companions))


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_evaluate(task, fine_tuned, sources):
    _, best = fine_tuned(task)
    data = ["--data", sources[task], "--validation-fraction", TASKS[task].data().validation_fraction]
    printed = run("evaluate", task, "--checkpoint", best, *data, *SIZES, *FURTHER.get(task, []))
    # What finetune carved off, and so the very figure that the model was chosen by.
    found = json.loads((best / "result.json").read_text())["best_epoch"][TASKS[task].primary]
    figures = [float(each) for each in re.findall(r"(?<= )\d+\.\d+(?= )", printed)]
    assert any(figure == pytest.approx(found, abs=0.005) for figure in figures), printed
    assert TASKS[task].unit in printed.split()
    fewer = run("evaluate", task, "--checkpoint", best, *data, "--limit", 7, *SIZES, *FURTHER.get(task, []))
    # A narrow terminal breaks the line.
    assert {"7", TASKS[task].unit} <= set(fewer.split())
    refused = run("evaluate", task, "--checkpoint", best, "--server", "localhost:1", code=1)
    assert "give either a checkpoint or a server's address" in refused


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_soup(task, fine_tuned, sources, tmp_path):
    _, best = fine_tuned(task)
    worse = spoiled(best, tmp_path / "spoiled")
    options = ["--data", sources[task], *SIZES, *FURTHER.get(task, []), "--output", tmp_path / "soup"]
    printed = run("soup", task, best, worse, *options)
    result = json.loads((tmp_path / "soup" / "result.json").read_text())
    assert str(best) in result["soup"]
    before = json.loads((best / "result.json").read_text())["best_epoch"]
    assert result["best_epoch"][result["primary"]] >= before[result["primary"]] - 0.01
    assert f"{TASKS[task].primary} " in printed
    assert all((tmp_path / "soup" / name).is_file() for name in TASKS[task].companions)
    scored = run("evaluate", task, "--checkpoint", tmp_path / "soup", *options[:-2])
    assert "model" in scored


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_export(task, fine_tuned, sources, repository, tmp_path):
    _, best = fine_tuned(task)
    worse = spoiled(best, tmp_path / "spoiled")
    export = ["export", task, "--repository", repository, "--dtype", "float32", "--checkpoint"]
    data = ["--data", sources[task]]
    run(*export, best)
    network = repository / f"{task}_{TASKS[task].spec.network}" / "1" / "model.pt"
    served = network.read_bytes()
    assert f"{task} is served already; --data compares" in run(*export, worse, code=1)
    printed = run(*export, worse, *data, code=1)
    assert f"{TASKS[task].unit}, and the served model's is" in printed
    assert "--replace" in printed
    assert network.read_bytes() == served
    # Through the export as through the checkpoint: the gate scores what is served.
    figure = float(printed.partition("the served model's is ")[2].partition(";")[0])
    found = json.loads((best / "result.json").read_text())["best_epoch"][TASKS[task].primary]
    assert figure == pytest.approx(found, abs=0.02 * max(1, found))
    run(*export, best, *data)
    run(*export, worse, "--replace")
    assert network.read_bytes() != served
