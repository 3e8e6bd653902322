"""Classifiers and cross-encoders of somebody's own data: from a file through training and export to every answer."""

import json
import math
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from fine_tuned import SIZES, fine_tune_once, run
from own_labels import write_queries, write_topics
from trident_api.app import create_app
from trident_api.settings import ApiSettings
from trident_client import Label, TridentClient, pipeline
from trident_client.cli.app import app
from trident_client.cli.pages import EXAMPLES
from typer.testing import CliRunner

pytestmark = pytest.mark.serving
SOURCE = Path(__file__).resolve().parents[2] / "model_repository"


@pytest.fixture(scope="module")
def trained(tiny_checkpoint, tmp_path_factory):
    """A repository with two sets, and for each its data and how its checkpoint scores that."""
    folder = tmp_path_factory.mktemp("own")
    repository = folder / "models"
    for source in SOURCE.glob("cola*"):
        if "small" not in source.name:
            ignored = shutil.ignore_patterns("*.pt", "*.json", "__pycache__")
            shutil.copytree(source, repository / source.name, ignore=ignored)
    scored = {}
    for task, name, data in (
        ("classify", "topics", write_topics(folder)),
        ("rerank", "rerank", write_queries(folder)),
    ):
        _, best = fine_tune_once(task, tiny_checkpoint("bert"), data, tmp_path_factory)
        scored[name] = (task, data, run("evaluate", task, "--checkpoint", best, "--data", data, *SIZES))
        sized = ["--name", name, "--max-tokens", 40, "--dtype", "float32", "--repository", repository]
        run("export", task, "--checkpoint", best, *sized)
    for source in repository.glob("cola*"):
        shutil.rmtree(source)
    return repository, scored


@pytest.fixture(scope="module")
def triton(trained, serve_models):
    with serve_models(trained[0]) as process:
        yield process


@pytest.fixture(scope="module")
def client(triton):
    with TridentClient(triton.grpc_url, protocol="grpc") as client:
        yield client


@pytest.fixture(scope="module")
def api(triton):
    settings = ApiSettings(triton_url=triton.http_url, triton_grpc_url=triton.grpc_url)
    with TestClient(create_app(settings)) as api:
        yield api


@pytest.mark.parametrize("name", ["topics", "rerank"])
def test_the_server_scores_as_the_checkpoint_does(trained, triton, name):
    task, data, scored = trained[1][name]
    assert run("evaluate", task, "--server", triton.http_url, "--model", name, "--data", data) == scored


def test_the_client_and_the_facade_classify(client, api):
    texts = ["the dog runs", ("sings today", "cat home"), "cat " * 60]
    cut = []
    found = client.classify(texts, model="topics", on_truncation=cut.extend)
    assert [each[0].label for each in found] == ["dog", "cat", "cat"]
    assert all(sum(score for _, score in each) == pytest.approx(1, abs=1e-5) for each in found)
    assert cut == [2]
    assert {each.name: each.labels for each in client.models()} == {"topics": ("cat", "dog", "fish"), "rerank": ()}
    inputs = [["the dog runs"], ["sings today", "cat home"]]
    answer = api.post("/predict", json={"inputs": inputs, "model": "topics"}).json()
    assert [[Label(**label) for label in each] for each in answer] == [
        [(label, pytest.approx(score, abs=1e-5)) for label, score in each] for each in found[:2]
    ]
    (tokens,) = api.post("/tokenize", json={"inputs": "the dog", "model": "topics"}).json()
    assert "".join(each["text"] for each in tokens if not each["special"]) == "thedog"
    assert [each["label"] for each in pipeline("text-classification", client, model="topics")(texts)] == [
        each[0].label for each in found
    ]
    (raw,) = client.classify(["the dog runs"], model="topics", raw_scores=True)
    whole = sum(math.exp(score) for _, score in raw)
    assert [(label, pytest.approx(math.exp(score) / whole, abs=1e-5)) for label, score in raw] == found[0]
    assert raw[0].score != pytest.approx(found[0][0].score, abs=1e-3)
    refused = api.post("/predict", json={"inputs": "the dog runs", "model": "classify"})
    assert "trident-train finetune classify" in refused.json()["detail"]


def test_the_client_and_the_facade_rerank(client, api):
    texts = ["runs home today", "the dog sings", "park home sings"]
    found = client.rerank("runs 3", texts)
    assert found[0].index == 1
    assert 0 <= found[-1].score < found[0].score <= 1
    answer = api.post("/rerank", json={"query": "runs 3", "texts": texts}).json()
    assert [(each["index"], each["score"]) for each in answer] == [
        (each.index, pytest.approx(each.score, abs=1e-5)) for each in found
    ]


def test_the_command_line_asks_both(triton, tmp_path):
    (tmp_path / "mails.csv").write_text("text,text_pair\nthe dog runs,\nsings today,cat home\n , \n")
    files = ["--input", str(tmp_path / "mails.csv"), "--output", str(tmp_path / "told.jsonl"), "--url", triton.http_url]
    done = CliRunner().invoke(app, ["classify", "--model", "topics", *files])
    assert done.exit_code == 1, done.output
    rows = [json.loads(line) for line in (tmp_path / "told.jsonl").read_text().splitlines()]
    assert [row.get("label") for row in rows] == ["dog", "cat", None]
    assert "empty" in rows[2]["error"]
    ranked = CliRunner().invoke(app, ["rerank", "runs 3", "runs home today", "the dog sings", "--url", triton.http_url])
    cat, dog = (json.loads(line)["score"] for line in ranked.stdout.splitlines())
    assert dog > cat


def test_the_command_line_gives_logits_where_they_are_asked_for(triton):
    def ask(*arguments):
        done = CliRunner().invoke(app, [*arguments, "--url", triton.http_url])
        assert done.exit_code == 0, done.output
        return [json.loads(line) for line in done.stdout.splitlines()]

    ranking = ["rerank", "runs 3", "runs home today", "the dog sings"]
    scores, logits = ([row["score"] for row in ask(*ranking, *option)] for option in ([], ["--raw-scores"]))
    assert scores == [pytest.approx(1 / (1 + math.exp(-each)), abs=1e-5) for each in logits]
    labelling = ["classify", "--model", "topics", "--top-k", "3", "the dog runs"]
    (named,), (raw,) = (ask(*labelling, *option) for option in ([], ["--raw-scores"]))
    whole = sum(math.exp(each["score"]) for each in raw["labels"])
    assert [(each["label"], pytest.approx(math.exp(each["score"]) / whole, abs=1e-5)) for each in raw["labels"]] == [
        (each["label"], each["score"]) for each in named["labels"]
    ]


def test_the_examples_of_the_help_run(triton, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mails.csv").write_text("text\nthe dog runs\n")
    Path("candidates.csv").write_text("query,text\nruns 3,runs home today\n")
    for example in [*EXAMPLES["classify"], *EXAMPLES["rerank"]]:
        _, command, *options = shlex.split(example)
        if command == "classify" and "--model" not in options:
            options += ["--model", "topics"]
        done = CliRunner().invoke(app, [command, *options, "--url", triton.http_url])
        assert done.exit_code == 0, done.output
    assert Path("labelled.jsonl").stat().st_size > 0
    assert Path("scored.parquet").stat().st_size > 0


@pytest.mark.bench
def test_both_are_put_under_load(triton, tmp_path):
    script = "from trident_bench.cli import main; main()"
    addresses = ["--url", triton.http_url, "--grpc-url", triton.grpc_url, "--protocols", "http,grpc"]
    short = ["--concurrency", "2", "--rates", "none", "--seconds", "0.5", "--output", str(tmp_path)]
    command = [sys.executable, "-c", script, "load", "topics", "rerank", *addresses, *short]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    sweeps = json.loads((tmp_path / "results.json").read_text())["sweeps"]
    assert [(each["ensemble"], each["protocol"]) for each in sweeps] == [
        (name, protocol) for name in ("topics", "rerank") for protocol in ("http", "grpc")
    ]
    assert all(each["curves"][0]["points"][0]["load"]["failures"] == 0 for each in sweeps)
