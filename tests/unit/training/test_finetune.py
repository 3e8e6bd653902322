"""Fine-tuning from the command line to the best epoch, on tiny models."""

import json
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from fine_tuned import start
from safetensors.torch import load_file
from torch import nn
from transformers import TrainerCallback
from trident_training.checkpoints.loading import Dropout, load_classifier, load_question_answerer
from trident_training.cli import app
from trident_training.commands import steps
from trident_training.finetune.epochs import rank
from trident_training.finetune.lora import with_lora
from trident_training.finetune.settings import Settings
from trident_training.tasks.base import NoOptions
from trident_training.tasks.cola.task import TASK
from trident_training.tasks.sts.choices import Kind
from trident_training.tasks.sts.pairs import load_pair_model
from typer.testing import CliRunner

OPTIONS = ["--learning-rate", "3e-3", "--max-length", "24", "--batch-size", "32"]


def command(model, data, output, *options):
    paths = ["--model", str(model), "--data", str(data), "--output", str(output)]
    return ["finetune", "cola", *paths, *OPTIONS, *options]


def finetune(*arguments, code=0):
    result = CliRunner().invoke(app, command(*arguments))
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def read(output: Path) -> dict:
    return json.loads((output / "result.json").read_text())


def test_the_best_epoch_is_kept_scored_and_not_trained_again(tiny_checkpoint, toy_data, tmp_path):
    arguments = (tiny_checkpoint("bert"), toy_data, tmp_path, "--epochs", "4")
    printed = finetune(*arguments)
    result = read(tmp_path)
    assert [epoch["epoch"] for epoch in result["epochs"]] == [1, 2, 3, 4]
    assert result["best_epoch"] == max(result["epochs"], key=lambda epoch: rank(epoch, "matthews_correlation"))
    assert result["best_epoch"]["matthews_correlation"] > 0.8
    assert f"matthews_correlation {result['best_epoch']['matthews_correlation']:.3f}, epoch" in printed
    held_out = json.loads((tmp_path / "best" / "test_metrics.json").read_text())
    assert held_out["matthews_correlation"] > 0.8
    assert set(held_out["by_source"]) == {"toy0", "toy1"}
    assert not list(tmp_path.glob("checkpoint-*"))
    assert list(tmp_path.glob("runs/**/events.out.tfevents*")), "no TensorBoard log"
    written = (tmp_path / "best" / "model.safetensors").stat().st_mtime_ns
    finetune(*arguments)
    assert (tmp_path / "best" / "model.safetensors").stat().st_mtime_ns == written


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_as_an_uninterrupted_one(tiny_checkpoint, toy_data, tmp_path):
    settings = ("--epochs", "4", "--save-steps", "7", "--seed", "11", "--average", "0.8")
    finetune(tiny_checkpoint("bert"), toy_data, tmp_path / "whole", *settings)
    killed = command(tiny_checkpoint("bert"), toy_data, tmp_path / "killed", *settings)
    process = start(*killed)
    deadline = time.monotonic() + 120
    # Past the first epoch, so that its metrics have to survive too.
    while not list((tmp_path / "killed").glob("checkpoint-2*/trainer_state.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.join(10)
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "result.json").exists()
    finetune(tiny_checkpoint("bert"), toy_data, tmp_path / "killed", *settings)
    whole, resumed = read(tmp_path / "whole"), read(tmp_path / "killed")
    for epoch, again in zip(whole["epochs"], resumed["epochs"], strict=True):
        scores = {name: value for name, value in epoch.items() if not name.endswith(("runtime", "per_second"))}
        assert scores == pytest.approx({name: again[name] for name in scores})
    weights = [load_file(tmp_path / each / "best" / "model.safetensors") for each in ("whole", "killed")]
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-6) for name in weights[0])


def test_averaged_weights_compete_with_the_epochs(tiny_checkpoint, toy_data, tmp_path):
    finetune(tiny_checkpoint("bert"), toy_data, tmp_path, "--epochs", "3", "--average", "0.5")
    result = read(tmp_path)
    *epochs, average = result["epochs"]
    assert average["averaged"]
    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3]
    assert average["loss"] not in [epoch["loss"] for epoch in epochs]
    assert result["best_epoch"] == max(result["epochs"], key=lambda epoch: rank(epoch, "matthews_correlation"))


def test_other_settings_in_the_same_folder_are_refused(tiny_checkpoint, toy_data, tmp_path):
    # One that short may answer everything alike, which is told by status 1.
    CliRunner().invoke(app, command(tiny_checkpoint("bert"), toy_data, tmp_path, "--epochs", "1"))
    printed = finetune(tiny_checkpoint("bert"), toy_data, tmp_path, "--epochs", "2", code=1)
    assert "epochs was 1 and is 2" in printed


def test_a_collapsed_run_says_so_and_what_to_change(tiny_checkpoint, toy_data, tmp_path):
    printed = finetune(
        tiny_checkpoint("albert"), toy_data, tmp_path, "--epochs", "1", "--learning-rate", "1e-9", code=1
    )
    assert "the model collapsed: every sentence is called" in printed
    assert "learning rate" in printed
    assert read(tmp_path)["collapsed"]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_sentences_of_one_label_are_refused_as_data(tiny_checkpoint, toy_data, tmp_path, split):
    for name, source in (("train", "train"), ("validation", "dev")):
        lines = (toy_data / f"{source}.tsv").read_text().splitlines(keepends=True)
        kept = [line for line in lines if name != split or line.split("\t")[1] == "1"]
        (tmp_path / f"{source}.tsv").write_text("".join(kept))
    printed = finetune(tiny_checkpoint("bert"), tmp_path, tmp_path / "run", "--validation-fraction", "0", code=1)
    assert f"every sentence of the {split} set has the label 1 (acceptable)" in printed
    assert "collapsed" not in printed
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("architecture", ["albert", "bert", "distilbert", "electra", "mpnet", "roberta"])
def test_without_dropout_none_is_left_also_in_the_head(tiny_checkpoint, architecture):
    name, none = str(tiny_checkpoint(architecture)), Dropout(0.0, 0.0)
    models = [load_classifier(name, TASK.labels, 24, dropout=none), load_question_answerer(name, 24, dropout=none)]
    models += [load_pair_model(name, kind, 24, dropout=none) for kind in (Kind.TWO_LAYERS, Kind.CROSS_ENCODER)]
    for model in models:
        assert {each.p for each in model.modules() if isinstance(each, nn.Dropout)} <= {0.0}
        assert not any(getattr(model.config, each) for each in vars(model.config) if "dropout" in each)
    own = load_pair_model(name, Kind.TWO_LAYERS, 24)
    assert own.head[2].p == 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chosen", "scale", "dropout", "layers"),
    [
        ({}, 2.0, 0.05, {"query", "key", "value", "dense"}),
        ({"lora_alpha": 4, "lora_dropout": 0.0, "lora_targets": "query,value"}, 0.5, 0.0, {"query", "value"}),
        ({"lora_alpha": 4, "rslora": True, "lora_dropout": 0.25}, 4 / 8**0.5, 0.25, {"query", "key", "value", "dense"}),
    ],
)
def test_lora_is_as_the_settings_have_it(tiny_checkpoint, tmp_path, chosen, scale, dropout, layers):
    model = with_lora(
        load_classifier(str(tiny_checkpoint("bert")), TASK.labels, 24), Settings(tmp_path, lora_rank=8, **chosen)
    )
    adapted = {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}
    assert {name.rpartition(".")[2] for name in adapted} == layers
    for module in adapted.values():
        assert module.r["default"] == module.lora_A["default"].out_features == 8
        assert module.scaling["default"] == pytest.approx(scale)
        assert getattr(module.lora_dropout["default"], "p", 0.0) == dropout
    # The head is trained whole, and beside it nothing but what LoRA adds.
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert all("lora_" in name or "classifier" in name for name in trained)
    assert any("classifier" in name for name in trained)


def test_lora_is_merged_into_what_is_kept(tiny_checkpoint, toy_data, tmp_path):
    finetune(
        tiny_checkpoint("bert"), toy_data, tmp_path, "--epochs", "6", "--lora-rank", "8", "--learning-rate", "2e-2"
    )
    assert read(tmp_path)["best_epoch"]["matthews_correlation"] > 0.5
    base = load_file(tiny_checkpoint("bert") / "model.safetensors")
    best = load_file(tmp_path / "best" / "model.safetensors")
    assert not any("lora" in name for name in best)
    query = "encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(best[f"bert.{query}"], base[query])
    # What the best epoch scores on its own is what the run says of it.
    assert json.loads((tmp_path / "best" / "test_metrics.json").read_text())["matthews_correlation"] > 0.4


@pytest.mark.slow
def test_frozen_embeddings_and_accumulation(tiny_checkpoint, toy_data, tmp_path):
    options = ("--epochs", "4", "--freeze-embeddings", "--accumulation", "4")
    finetune(tiny_checkpoint("bert"), toy_data, tmp_path, *options)
    base = load_file(tiny_checkpoint("bert") / "model.safetensors")
    best = load_file(tmp_path / "best" / "model.safetensors")
    words = "embeddings.word_embeddings.weight"
    assert torch.equal(best[f"bert.{words}"], base[words])
    assert not torch.equal(best["bert.pooler.dense.weight"], base["pooler.dense.weight"])


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["bert", "roberta"])
def test_a_step_is_the_same_in_however_many_passes(tiny_checkpoint, toy_data, tmp_path, architecture):
    data = TASK.load(TASK.data(data=str(toy_data)))

    class Logged(TrainerCallback):
        def on_log(self, args, state, control, logs, **kwargs):
            if "grad_norm" in logs:
                found[args.gradient_accumulation_steps].append((logs["loss"], logs["grad_norm"]))

    found = {1: [], 2: []}
    for accumulation in found:
        settings = Settings(
            tmp_path / str(accumulation),
            str(tiny_checkpoint(architecture)),
            epochs=2,
            batch_size=16,
            accumulation=accumulation,
            learning_rate=1e-6,
            max_length=24,
            dropout=0.0,
            attention_dropout=0.0,
        )
        steps.train(TASK, data, settings, NoOptions(), [Logged()])
    assert len(found[1]) > 1
    # Half precision rounds otherwise in batches of another size.
    np.testing.assert_allclose(found[2], found[1], rtol=0.02)


def test_training_stops_early_when_nothing_improves(tiny_checkpoint, toy_data, tmp_path):
    options = ("--epochs", "9", "--patience", "1", "--learning-rate", "1e-9")
    finetune(tiny_checkpoint("bert"), toy_data, tmp_path, *options, code=1)
    assert len(read(tmp_path)["epochs"]) == 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--model", "/nowhere/at-all"], "there is no folder /nowhere/at-all"),
        (["--data", "/nowhere/data.tsv"], "there is no file or folder /nowhere/data.tsv"),
        (["--max-length", "512"], "and max_length is 512"),
        (["--model", "bundled-9"], "has 6 layers"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_starts(tiny_checkpoint, toy_data, tmp_path, options, says):
    printed = finetune(tiny_checkpoint("bert"), toy_data, tmp_path / "run", *options, code=1)
    assert says in printed
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_without_a_tokenizer_is_refused(tiny_checkpoint, toy_data, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(tiny_checkpoint("bert"), bare, ignore=shutil.ignore_patterns("tokenizer*"))
    assert f"{bare} has no tokenizer" in finetune(bare, toy_data, tmp_path / "run", code=1)


def test_an_option_that_fits_no_other_is_a_usage_error(tiny_checkpoint, toy_data, tmp_path):
    finetune(tiny_checkpoint("bert"), toy_data, tmp_path / "run", "--batch-size", "10", "--accumulation", "3", code=2)
