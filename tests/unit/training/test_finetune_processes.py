"""One fine-tuning on two processes, over gloo, beside the same on one."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from accelerate import PartialState
from fine_tuned import FURTHER
from safetensors.torch import load_file
from torch.utils.data import BatchSampler
from transformers import BertConfig, BertModel
from trident_server.ports import free_ports
from trident_training.checkpoints.loading import load_classifier, load_tokenizer
from trident_training.cli import app
from trident_training.finetune import processes, run
from trident_training.finetune.sampling import EpochLengthSampler, PartOfEachBatch
from trident_training.tasks.cola.task import TASK
from trident_training.tasks.sts import contrast, distillation
from trident_training.tasks.sts.choices import Kind
from trident_training.tasks.sts.pairs import loss_function
from typer.testing import CliRunner

# Every mask of dropout is a process' own, so that without it alone two runs can be the same.
OPTIONS = ["--learning-rate", "3e-3", "--max-length", "24", "--batch-size", "32", "--dropout", "0"]
OPTIONS += ["--attention-dropout", "0", "--epochs", "5", "--eval-steps", "25", "--average", "0.5", "--save-steps", "10"]
#: That a training may take, and more than it needs.
SECONDS = 280
#: Of the train file; nine in ten are trained on.
ROWS = 410
PAIRS = 437
MEASURES = ("runtime", "per_second")
#: Of a reader.
NO_GRADIENT = {"qa_outputs.bias", "bert.encoder.layer.1.output.LayerNorm.bias"}


@pytest.mark.parametrize("rows", [64, 65, 70])
@pytest.mark.parametrize("processes", [2, 3])
def test_each_batch_is_divided_among_the_processes(rows, processes):
    lengths = [number % 13 for number in range(rows)]

    def order():
        return EpochLengthSampler(32, lengths, seed=3)

    parts = [list(PartOfEachBatch(order(), 32, each, processes, lambda: 2)) for each in range(processes)]
    whole = order()
    whole.set_epoch(2)
    for batch, *divided in zip(BatchSampler(whole, 32, drop_last=False), *parts, strict=True):
        assert all(divided)
        taken = sorted(row for part in divided for row in part)
        assert taken == sorted(batch) if len(batch) >= processes else set(taken) == set(batch)


def train_one(arguments, environment):
    os.environ.update(environment)
    # Whoever trained in the parent was alone.
    PartialState._reset_state()
    torch.set_num_threads(1)
    app(arguments)


@pytest.fixture
def command(tiny_checkpoint, toy_data, tmp_path):
    """Makes a command line that trains in a folder; of an epoch's last batch, the processes have different shares."""
    data = shutil.copytree(toy_data, tmp_path / "data")
    lines = (data / "train.tsv").read_text("utf-8").splitlines(keepends=True)
    (data / "train.tsv").write_text("".join(lines[:ROWS]), "utf-8")

    def make(name, *options):
        paths = ["--model", str(tiny_checkpoint("bert")), "--data", str(data), "--output", str(tmp_path / name)]
        return ["finetune", "cola", *paths, *OPTIONS, *options]

    return make


def start(count, arguments):
    """Start processes that train together, as torchrun does, but forked: loading torch takes longer than to train."""
    [port] = free_ports(1)
    together = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    # Half precision would hide what differs, where a processor trains in it.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "_device", lambda: {"use_cpu": True, "bf16": False})
        return [fork(rank, count, arguments, together) for rank in range(count)]


def fork(rank, count, arguments, together):
    environment = together | {"RANK": str(rank), "LOCAL_RANK": str(rank)} if count > 1 else {}
    process = multiprocessing.get_context("fork").Process(target=train_one, args=(arguments, environment))
    process.start()
    return process


def end(processes):
    for each in processes:
        each.join(SECONDS)
    return [each.exitcode for each in processes]


@pytest.mark.slow
@pytest.mark.timeout(3 * SECONDS)
def test_two_processes_train_what_one_does_also_where_they_were_killed_half_way(command, tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert end(start(1, command("alone"))) == [0]
    processes = start(2, command("together"))
    deadline = time.monotonic() + SECONDS
    while not list(together.glob("checkpoint-[2-9]*/trainer_state.json")) and time.monotonic() < deadline:
        assert all(each.is_alive() for each in processes)
        time.sleep(0.01)
    for each in processes:
        each.kill()
    assert end(processes) == [-signal.SIGKILL] * 2
    assert not (together / "result.json").exists()
    assert end(start(2, command("together"))) == [0, 0]
    one, two = (json.loads((each / "result.json").read_text()) for each in (alone, together))
    # After 25 steps, after 50, and of the average.
    assert [round(epoch["epoch"] * 12) for epoch in one["epochs"]][:2] == [25, 50]
    for expected, found in zip(one["epochs"], two["epochs"], strict=True):
        scores = {name: value for name, value in expected.items() if not name.endswith(MEASURES)}
        assert {name: found[name] for name in scores} == pytest.approx(scores, abs=1e-3)
    weights = [load_file(each / "best" / "model.safetensors") for each in (alone, together)]
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-3) for name in weights[0])
    assert not list(together.glob("checkpoint-*"))


@pytest.fixture
def on_pairs(tiny_checkpoint, pairs, tmp_path):
    """Makes a command line that trains on pairs in a folder; the last batch of an epoch has an odd number of them."""
    data = shutil.copytree(pairs, tmp_path / "pairs")
    lines = (data / "train.csv").read_text("utf-8").splitlines(keepends=True)
    (data / "train.csv").write_text("".join(lines[: 1 + PAIRS]), "utf-8")

    def make(name, *options):
        paths = ["--model", str(tiny_checkpoint("bert")), "--data", str(data), "--output", str(tmp_path / name)]
        return ["finetune", "sts", *paths, *OPTIONS, *options]

    return make


@pytest.mark.slow
@pytest.mark.timeout(3 * SECONDS)
def test_two_processes_learn_the_order_of_pairs_as_one_does(on_pairs, tmp_path):
    runs = {count: tmp_path / f"of-{count}" for count in (1, 2)}
    for count, folder in runs.items():
        assert end(start(count, on_pairs(folder.name, "--loss", "cosent", "--epochs", "4"))) == [0] * count
    compare(*runs.values())


@pytest.mark.slow
@pytest.mark.timeout(3 * SECONDS)
@pytest.mark.parametrize("task", ["classify", "qa", "rerank", "sts"])
def test_any_task_is_learned_by_two_processes_as_by_one(task, sources, tiny_checkpoint, tmp_path):
    runs = {count: tmp_path / f"of-{count}" for count in (1, 2)}
    options = [*OPTIONS, "--max-length", 40, "--eval-steps", 50, *FURTHER.get(task, [])]
    for count, output in runs.items():
        paths = ["--model", tiny_checkpoint("bert"), "--data", sources[task], "--output", output]
        assert end(start(count, list(map(str, ["finetune", task, *paths, *options])))) == [0] * count
    compare(*runs.values())


@pytest.mark.slow
@pytest.mark.timeout(3 * SECONDS)
@pytest.mark.parametrize("way", ["distill", "lora"])
def test_two_processes_learn_from_a_teacher_or_lora_as_one_does(way, command, tiny_checkpoint, tmp_path):
    runs = {count: tmp_path / f"of-{count}" for count in (1, 2)}
    further = ["--lora-rank", "4", "--lora-dropout", "0"]
    if way == "distill":
        # What it learned does not matter here.
        teacher = tmp_path / "teacher"
        load_classifier(str(tiny_checkpoint("bert")), TASK.labels, 24).save_pretrained(teacher)
        load_tokenizer(str(tiny_checkpoint("bert"))).save_pretrained(teacher)
        further = ["--teacher", str(teacher)]
    for count, folder in runs.items():
        _, *line = command(folder.name, "--epochs", "3", *further)
        assert end(start(count, ["distill" if way == "distill" else "finetune", *line])) == [0] * count
    compare(*runs.values())


WORDS = ("sleeps", "laughs", "runs", "sings", "the", "dog", "a", "cat", "today", "home")


def write_triplets(folder, number):
    """Write sentences that mean the same, some with a hard negative, and pairs to choose by; return their options."""
    draw = random.Random(3)

    def sentence(verb):
        return " ".join(draw.sample([verb, *draw.sample(WORDS[4:], 3)], 4))

    rows = []
    for _ in range(number):
        verb, other = draw.sample(WORDS[:4], 2)
        # Most have none, so that a process' part of a batch may be without.
        rows.append(f"{sentence(verb)},{sentence(verb)},{sentence(other) if draw.random() < 0.1 else ''}")
    (folder / "same.csv").write_text("\n".join(["anchor,positive,negative", *rows]))
    pairs = [f"{sentence(a)},{sentence(b)},{5.0 if a == b else 0.0}" for a in WORDS[:4] for b in WORDS[:4]]
    (folder / "graded.csv").write_text("\n".join(["sentence1,sentence2,score", *pairs]))
    return ["--data", str(folder / "same.csv"), "--validation", str(folder / "graded.csv")]


@pytest.mark.slow
@pytest.mark.timeout(3 * SECONDS)
def test_two_processes_contrast_all_sentences_of_a_batch_as_one_does(tiny_checkpoint, tmp_path):
    # The last batch of an epoch has an odd number of them.
    data = write_triplets(tmp_path, 133)
    runs = {count: tmp_path / f"of-{count}" for count in (1, 2)}
    for count, output in runs.items():
        line = ["contrast", "--model", str(tiny_checkpoint("bert")), *data, "--output", str(output), *OPTIONS]
        assert end(start(count, [*line, "--eval-steps", "10"])) == [0] * count
    compare(*runs.values())


@pytest.mark.slow
@pytest.mark.timeout(3 * SECONDS)
@pytest.mark.parametrize("loss", ["mse", "cosent"])
def test_two_processes_learn_from_a_teacher_of_embeddings_as_one_does(loss, on_pairs, tiny_checkpoint, tmp_path):
    # Of another width, so that a projection is trained, too; some batches have text without scores alone.
    teacher, tokenizer = tmp_path / "teacher", load_tokenizer(str(tiny_checkpoint("bert")))
    sizes = {"vocab_size": len(tokenizer), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(2)
    BertModel(BertConfig(**sizes, intermediate_size=32, max_position_embeddings=66)).save_pretrained(teacher)
    tokenizer.save_pretrained(teacher)
    text = [" ".join(random.Random(number).choices(WORDS, k=1 + number % 9)) for number in range(131)]
    (tmp_path / "text.txt").write_text("\n".join(dict.fromkeys(text)))
    runs = {count: tmp_path / f"of-{count}" for count in (1, 2)}
    for count, output in runs.items():
        _, *line = on_pairs(output.name, "--epochs", "3", "--loss", loss)
        # All embeddings of an encoder that learned nothing are nearly one: a higher rate makes much of what is rounded.
        line += ["--learning-rate", "5e-4", "--teacher", str(teacher), "--text", str(tmp_path / "text.txt")]
        assert end(start(count, ["distill", *line])) == [0] * count
    compare(*runs.values())


def compare(*folders):
    """Compare what two runs ended with."""
    one, two = (json.loads((each / "result.json").read_text()) for each in folders)
    for expected, found in zip(one["epochs"], two["epochs"], strict=True):
        scores = {name: value for name, value in expected.items() if not name.endswith(MEASURES)}
        assert {name: found[name] for name in scores} == pytest.approx(scores, abs=1e-3)
    weights = [load_file(each / "best" / "model.safetensors") for each in folders]
    # What adds one number to all logits of a softmax changes no loss: noise moves it.
    names = weights[0].keys() - (NO_GRADIENT if "qa_outputs.bias" in weights[0] else set())
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-3) for name in names)


def order_of_pairs(weights, part):
    """The loss of the order of 9 pairs' scores."""
    draw = torch.Generator().manual_seed(5)
    inputs, labels = torch.randn(9, 4, generator=draw), torch.rand(9, generator=draw)
    outputs = {"logits": torch.tanh(inputs[part] @ weights)}
    return loss_function(Kind.BI_ENCODER, "cosent")(outputs, labels[part], len(labels))


def contrasted(weights, part):
    """The loss of 9 pairs that mean the same, of which the last has a hard negative and two are of one group."""
    draw = torch.Generator().manual_seed(6)
    inputs, groups = torch.randn(3, 9, 4, generator=draw), torch.tensor([0, 1, 2, 3, 4, 5, 1, 7, 8])
    negatives = torch.arange(9)[part] == 8
    rows = torch.cat([inputs[0, part], inputs[1, part], inputs[2, part][negatives]])
    return contrast.loss({"embeddings": rows * weights}, groups[part], len(groups))


def taught(weights, part, scored, loss):
    """The loss of 9 pairs, some scored, most with a teacher's embeddings."""
    draw = torch.Generator().manual_seed(7)
    inputs, goals = torch.randn(9, 2, 4, generator=draw), torch.randn(9, 2, 4, generator=draw)
    labels = torch.rand(9, generator=draw)
    labels[scored:] = torch.nan
    goals = torch.nn.functional.normalize(goals, dim=-1)
    goals[:2] = torch.nan
    prepared = SimpleNamespace(loss=loss_function(Kind.BI_ENCODER, loss))
    found = inputs[part] * weights
    known = ~goals[part].isnan().any(-1).any(-1)
    own = found[known].flatten(0, 1)
    outputs = {"logits": torch.nn.functional.cosine_similarity(found[:, 0], found[:, 1]), "embeddings": own}
    outputs |= {"projected": own * 2, "goals": goals[part][known].flatten(0, 1)}
    return distillation._mixed(prepared, SimpleNamespace(alpha=0.5))(outputs, labels[part], len(labels))


def learn_part(make, rank, count, port, results):
    together = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count), "RANK": str(rank)}
    os.environ.update(together | {"LOCAL_RANK": str(rank)} if count > 1 else {})
    PartialState._reset_state()
    processes.wait_for_others()
    weights = torch.linspace(0.5, 2, 4).requires_grad_()
    # As Trainer does: it counts the rows of all, and multiplies by the processes, whose gradients are averaged.
    loss = make(weights, slice(rank, None, count)) * count
    loss.backward()
    results.put((rank, loss.item() / count, (weights.grad / count).tolist()))


@pytest.mark.parametrize(
    "make",
    [
        order_of_pairs,
        contrasted,
        *(partial(taught, scored=scored, loss=loss) for scored in (6, 1, 0) for loss in ("mse", "cosent")),
    ],
    ids=["cosent", "contrast", *(f"taught-{scored}-{loss}" for scored in (6, 1, 0) for loss in ("mse", "cosent"))],
)
def test_what_compares_all_rows_is_one_loss_whoever_has_them(make):
    context = multiprocessing.get_context("fork")
    found = {}
    for count in (1, 2):
        results, [port] = context.SimpleQueue(), free_ports(1)
        started = [context.Process(target=learn_part, args=(make, rank, count, port, results)) for rank in range(count)]
        for each in started:
            each.start()
        assert end(started) == [0] * count
        parts = [results.get() for _ in started]
        found[count] = [sum(each[1] for each in parts), *map(sum, zip(*(each[2] for each in parts), strict=True))]
    assert found[2] == pytest.approx(found[1], abs=1e-5)
    assert any(abs(each) > 1e-3 for each in found[1][1:])


@pytest.mark.parametrize("line", [["evaluate", "sts"], ["export", "cola"], ["soup", "qa"], ["models"], ["vocabulary"]])
def test_what_one_process_does_alone_is_refused_to_several_and_the_verbs_that_are_not_are_named(line, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = CliRunner().invoke(app, line)
    assert done.exit_code == 1
    said = " ".join(done.output.split())
    assert f"{line[0]}: one process does it; finetune, distill, contrast, intermediate run on 2" in said


@pytest.mark.slow
def test_torchrun_starts_them_and_a_batch_that_cannot_be_divided_is_refused(command):
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "trident_training"]
    line = [sys.executable, *launch, *command("odd", "--batch-size", "15")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 1
    assert "a pass of 15 sequences cannot be divided among 2 processes equally" in done.stderr
    # The first one alone says what it does.
    assert done.stdout.count("train 369, validation 41") == 1
