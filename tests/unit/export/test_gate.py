"""No export takes the place of a served model unless it was compared with it, or somebody says so: for every task."""

import json
import re
import shutil
from pathlib import Path

import pytest
from trident_client import contract
from trident_training.cli import app
from trident_training.repository import ModelSet
from trident_training.tasks import find_tasks
from typer.testing import CliRunner

SOURCE = Path(__file__).resolve().parents[3] / "model_repository"
TASKS = find_tasks()
#: A file as somebody else writes it, the options that say how, and what is read.
FORMS = {
    "classify": ("say;is\na dog;pet\n", ["--text-column", "say", "--label-column", "is"], {"label": [["pet"]]}),
    "cola": (
        "say;is\na dog;bad\n",
        ["--text-column", "say", "--label-column", "is", "--label-map", "good=1,bad=0"],
        {"sentence": ["a dog"], "label": [0]},
    ),
    "rerank": (
        "asks;say;is\nwho?;a dog;yes\nwho?;a cat;no\n",
        ["--query-column", "asks", "--text-column", "say", "--label-column", "is", "--label-map", "yes=1,no=0"],
        {"label": [1, 0]},
    ),
    "sts": (
        "one;two;much\na dog;a cat;2\n",
        ["--text-column", "one", "--text-column", "two", "--label-column", "much", "--scale", "10"],
        {"sentence_1": ["a dog"], "sentence_2": ["a cat"], "score": [1.0]},
    ),
}


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "model_repository"
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("model.pt", "*.json", "__pycache__"))
    return folder


def run(*arguments):
    done = CliRunner().invoke(app, [str(each) for each in arguments], env={"COLUMNS": "200"})
    return done.exit_code, re.sub(r"\s+", " ", done.output)


@pytest.mark.parametrize("name", TASKS)
def test_without_data_a_served_model_is_not_replaced(name, repository):
    network = ModelSet(repository, contract.TASKS[name], name).network_file
    network.parent.mkdir(parents=True, exist_ok=True)
    network.write_bytes(b"served")
    # Before anything is exported: that takes minutes.
    code, printed = run("export", name, "--checkpoint", "./nowhere", "--repository", repository)
    assert code == 1
    assert f"{name} is served already; --data compares the two models, --replace installs it all the same" in printed
    assert network.read_bytes() == b"served"
    code, printed = run("export", name, "--checkpoint", "./nowhere", "--repository", repository, "--replace")
    assert "'./nowhere' cannot be loaded" in printed


@pytest.fixture
def compared(monkeypatch):
    """Give what the gate is made with, in place of an export."""
    found = {}

    def gate(task, target, rows, scoring):
        found.update(rows=rows, scoring=scoring)
        raise ValueError("enough")

    monkeypatch.setattr("trident_training.export.gate.gate", gate)
    return found


@pytest.mark.parametrize("name", FORMS)
def test_the_data_may_be_in_every_form_that_evaluate_takes(name, repository, tmp_path, compared):
    text, form, wanted = FORMS[name]
    (tmp_path / "own.csv").write_text(text)
    options = ["--data", tmp_path / "own.csv", "--delimiter", ";", *form, "--validation-fraction", 0]
    code, printed = run("export", name, "--checkpoint", "./nowhere", "--repository", repository, *options)
    assert code == 1
    assert "export: enough" in printed
    assert {column: list(compared["rows"][column]) for column in wanted} == wanted


def test_answers_are_compared_by_the_metric_that_is_named(repository, tmp_path, compared):
    row = {"id": "1", "question": "who?", "context": "a dog", "answers": {"text": ["a dog"], "answer_start": [0]}}
    (tmp_path / "own.jsonl").write_text(json.dumps(row) + "\n")
    options = ["--data", tmp_path / "own.jsonl", "--validation-fraction", 0, "--metric", "korquad"]
    _, printed = run("export", "qa", "--checkpoint", "./nowhere", "--repository", repository, *options)
    assert "export: enough" in printed
    assert compared["scoring"].metric == "korquad"
