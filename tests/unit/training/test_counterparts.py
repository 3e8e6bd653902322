"""The commands of the systems that Trident is for, as the page has them, on tiny models and small data."""

import argparse
import contextlib
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from fine_tuned import run
from trident_api.app import create_app
from trident_api.settings import ApiSettings
from trident_client.contract import TASKS
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
    Path("aihub-news.json").write_text(json.dumps({"data": as_ai_hub_has_them(articles[:16])}))
    rows = [{"idx": 0, "sentence1": "the dog runs", "sentence2": "a dog sings"}]
    Path("sample_data.json").write_text(json.dumps({"results": rows}))
    tasks = find_tasks()
    monkeypatch.setitem(tasks["cola"].presets, "cola-base", ("klue/bert-base", "roberta"))
    monkeypatch.setitem(tasks["sts"].presets, "klue-sts", ("klue/bert-base",))
    monkeypatch.setitem(tasks["qa"].presets, "korquad", ("kobert", "klue/bert-base"))
    return repository


def as_ai_hub_has_them(articles):
    """Return articles with ids under another name, and one answer in place of a list; of some there is none."""
    number = 0
    made = []
    for article in articles:
        paragraphs = []
        for paragraph in article["paragraphs"]:
            questions = []
            for each in paragraph["qas"]:
                number += 1
                (answer,) = each["answers"] if number % 5 else [{"text": "", "answer_start": None}]
                asked = {"question_id": str(number), "question": each["question"], "answers": answer}
                questions.append(asked | {"is_impossible": not answer["text"]})
            paragraphs.append({"context": paragraph["context"], "qas": questions})
        made.append({"doc_title": article["title"], "paragraphs": paragraphs})
    return made


#: Of what curl is told on the page.
CURL = argparse.ArgumentParser()
CURL.add_argument("-s", action="store_true")
CURL.add_argument("-H", action="append")
CURL.add_argument("-d")
CURL.add_argument("-F")
CURL.add_argument("url")


def ask(api, arguments):
    """Ask the facade what a line of curl's asks it; return the answer's fields."""
    given = CURL.parse_args(arguments)
    path = given.url.removeprefix("localhost:8000")
    if given.F:
        name, _, file = given.F.partition("=@")
        answer = api.post(path, files={name: (file, Path(file).read_bytes())})
    else:
        # A tiny vocabulary reads no Korean.
        body = {name: text if name == "model" else "the dog runs" for name, text in json.loads(given.d).items()}
        answer = api.post(path, content=json.dumps(body).encode())
    assert answer.status_code == 200, answer.text
    return set(answer.json())


#: What each path answers with.
ANSWERS = {
    "/generate": {"prob"},
    "/pred/sentences": {"sentence_1", "sentence_2", "score", "pred", "runtime(sec)"},
    "/pred/file/": {"sentences", "preds", "scores", "runtime(sec)"},
    "/pred/multi/": {"sentences", "preds", "scores", "runtime(sec)"},
    "/qa": {"answer", "score", "start", "end"},
}


@contextlib.contextmanager
def served(repository, task, name, serve_models):
    """Serve one set of a repository, as `make serve` would all, and the facade before it."""
    for folder in repository.iterdir():
        if folder.name not in {name, *(f"{name}_{part}" for part in TASKS[task].parts)}:
            shutil.rmtree(folder)
    with serve_models(repository) as triton:
        settings = ApiSettings(triton_url=triton.http_url, triton_grpc_url=triton.grpc_url)
        with TestClient(create_app(settings)) as api:
            yield api


@pytest.mark.slow
@pytest.mark.serving
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("system", "block"), SECTIONS, ids=[each[:25] for each, _ in SECTIONS])
def test_a_systems_commands_have_counterparts_that_run(system, block, place, serve_models):
    trainings, _, questions = block.replace("\\\n", " ").partition("make serve\n")
    assert trainings
    printed, name = "", ""
    for line in trainings.splitlines():
        _, verb, task, *options = shlex.split(line)
        options = [SMALLER.get(before, option) for before, option in zip(["", *options], options, strict=False)]
        if verb == "export":
            name = options[options.index("--name") + 1] if "--name" in options else task
            options += ["--repository", place, "--dtype", "float32", *(["--max-tokens", 60] if task == "qa" else [])]
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
    assert "built from runs" in printed
    if not questions:
        return
    with served(place, task, name, serve_models) as api:
        for line in questions.splitlines():
            command, *arguments = shlex.split(line, comments=True)
            assert command == "curl"
            assert ask(api, arguments) == ANSWERS[arguments[1].removeprefix("localhost:8000")]


def test_every_system_has_its_section():
    assert len(re.findall("^### ", PAGE, re.MULTILINE)) == 5
    assert [system for system, _ in SECTIONS] == [
        "A web API for CoLA",
        "A study of Korean similarity",
        "A server of similarity",
        "A trainer of Korean readers",
        "A study of Korean readers",
    ]
