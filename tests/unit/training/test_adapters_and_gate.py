"""Adapters give back what they were made of, and the gate keeps a worse model from replacing a better one."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification
from trident_training.checkpoints.adapters import PLANES, WEIGHTS, merge_adapter, save_adapter
from trident_training.checkpoints.errors import CheckpointError
from trident_training.checkpoints.loading import load_encoder, load_tokenizer
from trident_training.cli import app
from trident_training.finetune.lora import merged, with_lora
from trident_training.finetune.settings import Settings
from trident_training.tasks.cola.task import TASK
from typer.testing import CliRunner

# All of it is about a trained model.
pytestmark = pytest.mark.slow
SOURCE = Path(__file__).resolve().parents[3] / "model_repository"
SENTENCES = ["the dog sleeps today.", "sleeps the dog the dog today.", "고양이 laughs."]


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


@pytest.fixture
def classifier(fine_tuned) -> Path:
    return fine_tuned("cola")[1]


@pytest.fixture
def repository(tmp_path) -> Path:
    folder = tmp_path / "model_repository"
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("model.pt", "*.json", "__pycache__"))
    for file in folder.glob("cola*/config.pbtxt"):
        file.write_text(file.read_text().replace('"128"', '"40"'))
    return folder


def test_an_adapter_holds_what_changed_and_gives_the_model_back(tiny_checkpoint, toy_data, tmp_path):
    base, frozen = str(tiny_checkpoint("bert")), tmp_path / "run" / "best"
    options = ["--learning-rate", "3e-3", "--epochs", 1, "--max-length", 24, "--freeze-embeddings"]
    arguments = ["finetune", "cola", "--model", base, "--data", toy_data, "--output", frozen.parent, *options]
    # An epoch changes the other weights, which is enough; whether it learned is the exit status's.
    CliRunner().invoke(app, [str(each) for each in arguments])
    run("adapter", "--checkpoint", frozen, "--base", base, "--output", tmp_path / "adapter")
    held = load_file(tmp_path / "adapter" / WEIGHTS)
    assert "bert.embeddings.word_embeddings.weight" not in held
    assert {"classifier.weight", "classifier.bias", "bert.pooler.dense.weight"} <= set(held)
    merged = merge_adapter(tmp_path / "adapter", base).state_dict()
    whole = AutoModelForSequenceClassification.from_pretrained(frozen).state_dict()
    assert all(torch.allclose(merged[name], whole[name], atol=1e-3) for name in whole)


@pytest.fixture(scope="module")
def low_rank(tiny_checkpoint, toy_data, tmp_path_factory) -> Path:
    """A tiny BERT fine-tuned with LoRA of rank 2 on queries and values."""
    output = tmp_path_factory.mktemp("low_rank")
    options = ["--lora-rank", 2, "--lora-alpha", 6, "--lora-targets", "query,value", "--lora-dropout", 0, "--rslora"]
    options += ["--learning-rate", "1e-2", "--epochs", 2, "--max-length", 24]
    options += ["--model", tiny_checkpoint("bert"), "--data", toy_data, "--output", output]
    # How well so few weights learn is of no concern here, and the exit status tells of it.
    CliRunner().invoke(app, [str(each) for each in ("finetune", "cola", *options)])
    return output / "best"


def test_what_lora_changed_is_held_as_its_factors(low_rank, tiny_checkpoint, tmp_path):
    base = str(tiny_checkpoint("bert"))
    run("adapter", "--checkpoint", low_rank, "--base", base, "--output", tmp_path / "adapter")
    held = load_file(tmp_path / "adapter" / WEIGHTS)
    factors = {name for name in held if name.endswith((".lora_A", ".lora_B"))}
    matrices = {name.rpartition(".lora_")[0] for name in factors}
    assert matrices == {
        f"bert.encoder.layer.{layer}.attention.self.{part}.weight" for layer in range(2) for part in ("query", "value")
    }
    assert len(factors) == 2 * len(matrices)
    assert all(min(held[name].shape) == 2 for name in factors)
    assert not any(name.startswith("bert.encoder") for name in set(held) - factors)
    merged = merge_adapter(tmp_path / "adapter", base).state_dict()
    whole = AutoModelForSequenceClassification.from_pretrained(low_rank).state_dict()
    before = load_file(Path(base) / "model.safetensors")
    for name in matrices:
        assert (whole[name] - before[name.removeprefix("bert.")]).abs().max() > 1e-2
        assert torch.allclose(merged[name], whole[name], atol=1e-4)
    assert all(torch.allclose(merged[name], whole[name], atol=1e-3) for name in whole)


def test_an_adapter_is_trained_on_at_its_ranks(low_rank, tiny_checkpoint, toy_data, tmp_path):
    base, first = str(tiny_checkpoint("bert")), tmp_path / "first"
    run("adapter", "--checkpoint", low_rank, "--base", base, "--output", first)
    head = AutoModelForSequenceClassification.from_pretrained(base)
    settings = Settings(tmp_path / "on", lora_from=str(first))
    begun = merged(with_lora(head, settings)).state_dict()
    held = merge_adapter(first, base).state_dict()
    # Before the first step it is the adapter's own model, head and all.
    assert all(torch.equal(begun[name], held[name]) for name in held)
    options = ["--lora-from", first, "--learning-rate", "1e-2", "--epochs", 1, "--max-length", 24]
    arguments = ["finetune", "cola", "--model", base, "--data", toy_data, "--output", settings.output, *options]
    CliRunner().invoke(app, [str(each) for each in arguments])
    run("adapter", "--checkpoint", settings.output / "best", "--base", base, "--output", tmp_path / "second")
    before, after = (load_file(folder / WEIGHTS) for folder in (first, tmp_path / "second"))
    assert {name: tensor.shape for name, tensor in before.items()} == {
        name: tensor.shape for name, tensor in after.items()
    }
    trained = merge_adapter(tmp_path / "second", base).state_dict()
    query = "bert.encoder.layer.0.attention.self.query.weight"
    assert (trained[query] - held[query]).abs().max() > 1e-3
    assert torch.equal(
        trained["bert.embeddings.word_embeddings.weight"], held["bert.embeddings.word_embeddings.weight"]
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda held: {name: held[name] for name in held if "lora_" not in name}, "holds no factors of LoRA"),
        (lambda held: {name: held[name] for name in held if not name.endswith("lora_A")}, "does not fit the model"),
        (lambda held: {name: tensor[:1] for name, tensor in held.items()}, "does not fit the model"),
        (lambda held: held | {"bert.more": torch.zeros(1)}, "holds bert.more, which the model has no place for"),
        (None, "cannot be read"),
    ],
)
def test_an_adapter_that_cannot_be_trained_on_is_refused(low_rank, tiny_checkpoint, toy_data, tmp_path, change, reason):
    base, adapter = str(tiny_checkpoint("bert")), tmp_path / "adapter"
    run("adapter", "--checkpoint", low_rank, "--base", base, "--output", adapter)
    held = load_file(adapter / WEIGHTS)
    if change is None:
        (adapter / WEIGHTS).unlink()
    else:
        save_file(change(held), adapter / WEIGHTS)
    arguments = ["finetune", "cola", "--model", base, "--data", toy_data, "--output", tmp_path / "run"]
    printed = run(*arguments, "--lora-from", adapter, "--max-length", 24, code=1)
    assert str(adapter) in printed
    assert reason in printed
    # The same command goes on once the adapter is whole.
    assert not (tmp_path / "run" / "settings.json").exists()


def test_adapters_are_averaged_and_stay_small(low_rank, tiny_checkpoint, toy_data, tmp_path):
    base = str(tiny_checkpoint("bert"))
    one, other, soup = (tmp_path / name for name in ("one", "other", "soup"))
    run("adapter", "--checkpoint", low_rank, "--base", base, "--output", one)
    shutil.copytree(one, other)
    held = load_file(one / WEIGHTS)
    name = "bert.encoder.layer.0.attention.self.query.weight"
    # The change of one matrix is another one, of the same rank.
    seeded = torch.Generator().manual_seed(0)
    sides = (f"{name}.lora_A", f"{name}.lora_B")
    changes = {side: torch.randn(held[side].shape, generator=seeded).half() / 4 for side in sides}
    save_file(held | changes, other / WEIGHTS, metadata={"format": "pt"})
    arguments = ["soup", "cola", one, other, "--output", soup, "--data", toy_data, "--max-length", 24]
    assert "cannot be loaded" in run(*arguments, "--uniform", code=1)
    printed = run(*arguments, "--uniform", "--base", base)
    assert f"of 2 in one: {one}, {other}" in printed
    found = load_file(soup / WEIGHTS)
    # Two changes of rank 2 make one of rank 4 at most, and every other matrix keeps its two factors.
    assert found[f"{name}.lora_A"].shape[0] == 4
    assert found[f"{name.replace('query', 'value')}.lora_A"].shape[0] == 2
    assert not (soup / "model.safetensors").exists()
    merged = merge_adapter(soup, base).state_dict()
    parts = [merge_adapter(each, base).state_dict() for each in (one, other)]
    assert all(torch.allclose(merged[key], (parts[0][key] + parts[1][key]) / 2, atol=1e-3) for key in merged)
    assert not torch.allclose(parts[0][name], parts[1][name], atol=1e-3)
    metrics = json.loads((soup / "metrics.json").read_text())
    assert set(metrics["result.json"]["soup"]) == {str(one), str(other)}


def test_weights_as_a_wheel_has_them_are_the_same_ones(low_rank, tiny_checkpoint, tmp_path):
    base = str(tiny_checkpoint("bert"))
    save_adapter(low_rank, base, tmp_path, {})
    before = merge_adapter(tmp_path, base).state_dict()
    content = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).unlink()
    (tmp_path / PLANES).write_bytes(content[::2] + content[1::2])
    after = merge_adapter(tmp_path, base).state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    (tmp_path / PLANES).write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot be read"):
        merge_adapter(tmp_path, base)
    # What was written there since is what is read.
    (tmp_path / WEIGHTS).write_bytes(content)
    assert merge_adapter(tmp_path, base).state_dict().keys() == before.keys()


@pytest.mark.parametrize("change", ["no right", "other rank"])
def test_factors_that_do_not_fit_are_refused(low_rank, tiny_checkpoint, tmp_path, change):
    base = str(tiny_checkpoint("bert"))
    save_adapter(low_rank, base, tmp_path, {})
    held = load_file(tmp_path / WEIGHTS)
    name = "bert.encoder.layer.0.attention.self.query.weight.lora_A"
    if change == "no right":
        del held[name]
    else:
        held[name] = held[name][:1].contiguous()
    save_file(held, tmp_path / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="which .* has no place for" if change == "no right" else "does not fit"):
        merge_adapter(tmp_path, base)


def test_an_adapter_of_an_encoder_with_a_decoder_gives_the_encoder_alone_and_no_larger_one(tiny_checkpoint, tmp_path):
    base, trained, adapter = str(tiny_checkpoint("t5")), tmp_path / "trained", tmp_path / "adapter"
    encoder = load_encoder(base)
    with torch.no_grad():
        encoder.encoder.block[0].layer[0].SelfAttention.q.weight += 1
    encoder.save_pretrained(trained)
    load_tokenizer(base).save_pretrained(trained)
    save_adapter(trained, base, adapter, {})
    assert set(load_file(adapter / WEIGHTS)) == {
        f"encoder.block.0.layer.0.SelfAttention.q.weight.lora_{side}" for side in "AB"
    }
    found = merge_adapter(adapter, base).state_dict()
    expected = encoder.state_dict()
    assert set(found) == set(expected)
    assert all(torch.allclose(found[name], expected[name], atol=1e-3) for name in expected)
    config = json.loads((adapter / "config.json").read_text())
    for name in ("d_model", "d_kv", "d_ff", "num_layers", "hidden_size"):
        (adapter / "config.json").write_text(json.dumps(config | {name: 10**6}))
        with pytest.raises(CheckpointError, match=f"{name} is 1000000; what is accepted goes up to"):
            merge_adapter(adapter, base)


@pytest.mark.parametrize("change", ["lacks", "other shape", "further"])
def test_an_adapter_that_does_not_fit_is_refused(classifier, tiny_checkpoint, tmp_path, change):
    base = str(tiny_checkpoint("bert"))
    save_adapter(classifier, base, tmp_path, {})
    held = load_file(tmp_path / WEIGHTS)
    if change == "lacks":
        del held["classifier.weight"]
    elif change == "other shape":
        held["classifier.weight"] = torch.zeros(2, 5)
    else:
        held["classifier.scale"] = torch.zeros(2)
    save_file(held, tmp_path / WEIGHTS)
    with pytest.raises(CheckpointError, match=r"classifier\.(weight|scale)"):
        merge_adapter(tmp_path, base)


def test_a_variant_that_the_gate_refuses_stays_as_it_is_served(classifier, toy_data, repository, tmp_path):
    export = ["export", "cola", "--repository", repository, "--dtype", "float32", "--name", "cola_own"]
    run(*export, "--checkpoint", classifier)
    before = {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}
    # Two tokens say nothing of a sentence, and the served model is asked about all of it.
    printed = run(*export, "--checkpoint", classifier, "--data", toy_data, "--max-tokens", "2", code=1)
    assert "matthews_correlation is 0.0000 over 41 sentences" in printed
    assert before == {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}


def test_a_checkpoint_without_a_trained_head_is_not_exported(tiny_checkpoint, repository):
    printed = run("export", "cola", "--repository", repository, "--checkpoint", tiny_checkpoint("bert"), code=1)
    assert "is not fine-tuned: it has no" in printed
    assert "classifier.weight" in printed
    assert not (repository / "cola_classifier" / "1" / "model.pt").exists()


def test_judgements_do_not_depend_on_the_company(classifier):
    predict = TASK.predictor(str(classifier), 24, TASK.scoring()).predict
    alone = [predict({"sentence": [sentence]})[0] for sentence in SENTENCES]
    assert np.allclose(predict({"sentence": SENTENCES * 50}), alone * 50, atol=1e-6)
    assert predict({"sentence": []}).shape == (0,)
