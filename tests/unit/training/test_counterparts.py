"""The commands of the systems that Trident is for, as the page has them, on tiny models and small data."""

import json
import re
import shlex
from pathlib import Path

import pytest
from fine_tuned import run
from trident_training.tasks import find_tasks

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "coming-from.md").read_text("utf-8")
MARK = "<!-- tested by tests/unit/training/test_counterparts.py -->"
SECTIONS = re.findall(rf"^### ([^\n]*)\n(?:(?!^###).)*^{MARK}\n```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
#: What a tiny model needs to learn anything, in place of what a pretrained one does.
SMALLER = {"--learning-rate": "3e-3", "--max-length": "40", "--doc-stride": "8", "--evaluate-every": "3"}
SMALLER |= {"--save-steps": "3"}


@pytest.fixture
def place(tiny_checkpoint, toy_data, toy_squad, pairs, repository, tmp_path, monkeypatch):
    """A folder with the page's models and data in it, small ones, under the names that the page gives them."""
    monkeypatch.chdir(tmp_path)
    for name, architecture in {"kobert": "bert", "klue/bert-base": "bert", "roberta": "roberta"}.items():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).symlink_to(tiny_checkpoint(architecture))
    for name, data in {"cola": toy_data, "klue-sts": pairs}.items():
        Path(name).mkdir()
        for file in data.iterdir():
            Path(name, file.name).write_text("".join(file.read_text("utf-8").splitlines(keepends=True)[:80]), "utf-8")
    articles = json.loads(toy_squad.read_text("utf-8"))["data"]
    for name in ("KorQuAD_v1.0_train", "KorQuAD_v1.0_dev", "klue-mrc-v1.1_train", "klue-mrc-v1.1_dev"):
        Path(f"{name}.json").write_text(json.dumps({"data": articles[:16]}))
    tasks = find_tasks()
    monkeypatch.setitem(tasks["cola"].presets, "cola-base", ("klue/bert-base", "roberta"))
    monkeypatch.setitem(tasks["sts"].presets, "klue-sts", ("klue/bert-base",))
    return repository


@pytest.mark.slow
@pytest.mark.parametrize(("system", "block"), SECTIONS, ids=[each[:25] for each, _ in SECTIONS])
def test_a_systems_commands_have_counterparts_that_run(system, block, place):
    lines = block.replace("\\\n", " ").splitlines()
    assert lines
    printed = ""
    for line in lines:
        _, verb, task, *options = shlex.split(line)
        options = [SMALLER.get(before, option) for before, option in zip(["", *options], options, strict=False)]
        if verb == "export":
            options += ["--repository", place, "--dtype", "float32"]
        elif "--max-length" not in options:
            options += ["--max-length", "40"]
        if task == "qa" and verb != "export" and "--doc-stride" not in options:
            options += ["--doc-stride", "8"]
        trains = verb in ("finetune", "tune", "sweep")
        # A search of two short trials, or an epoch of a tiny model, may end with answers that are all alike.
        printed = run(verb, task, *options, code=(0, 1) if trains else 0)
        if trains:
            output = options[options.index("--output") + 1] if "--output" in options else f"runs/{task}-{verb}"
            assert Path(output, "best", "model.safetensors").is_file(), printed
    # A narrow terminal breaks the heading.
    assert re.search(r"built from runs|\bedit\b", printed), printed


def test_every_system_has_its_section():
    assert len(re.findall("^### ", PAGE, re.MULTILINE)) == 5
    assert [system for system, _ in SECTIONS] == [
        "A web API for CoLA",
        "A study of Korean similarity",
        "A trainer of Korean readers",
        "A study of Korean readers",
    ]
