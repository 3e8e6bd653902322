"""A task that no file of the project names, as the page on adding one writes it: from its data to a served answer."""

import importlib
import shlex
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from task_page import blocks, span
from trident_api.app import create_app
from trident_api.settings import ApiSettings
from trident_client import TridentClient, contract
from trident_training.cli import build
from typer.testing import CliRunner

pytestmark = pytest.mark.serving
SOURCE = Path(__file__).resolve().parents[2] / "model_repository"

#: A row of the contract and a class; and the folders that serve them.
TASK, FOLDERS = blocks(__file__, "python")


@pytest.fixture
def page(tmp_path, monkeypatch):
    """The page's module, in a folder beside the repository."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model_repository").symlink_to(SOURCE)
    (tmp_path / "toy_of_the_page.py").write_text(TASK)
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module("toy_of_the_page")


@pytest.fixture
def run(page):
    def run(*arguments):
        done = CliRunner().invoke(build([page.Toy()]), [str(each) for each in arguments])
        assert done.exit_code == 0, done.output
        return " ".join(done.output.split())

    return run


def test_a_task_goes_from_its_data_to_a_served_answer(page, run, tiny_checkpoint, toy_data, tmp_path, serve_models):
    sentences = [line.split("\t")[3] for line in (toy_data / "train.tsv").read_text().splitlines()]
    rows = [f"{sentence}\t{int('dog' in sentence)}\n" for sentence in sentences]
    for name, chosen in (("train", [row for index, row in enumerate(rows) if index % 5]), ("dev", rows[::5])):
        (tmp_path / f"{name}.tsv").write_text("sentence\tlabel\n" + "".join(chosen))
    data, best, repository = ["--data", tmp_path], tmp_path / "run" / "best", tmp_path / "models"
    learn = ["--epochs", 12, "--learning-rate", "3e-3", "--max-length", 40, "--output", tmp_path / "run"]
    run("finetune", "toy", "--model", tiny_checkpoint("bert"), *data, *learn)
    scored = run("evaluate", "toy", "--checkpoint", best, *data, "--max-length", 40)
    with contract.registered(page.TOY):
        exec(FOLDERS, vars(page))
        given = {"<folder>": best, "<models>": repository, "<data>": tmp_path}
        _, *command = (given.get(word, word) for word in shlex.split(span("trident-train export toy")))
        export = [*command, "--dtype", "float32"]
        run(*export)
        # Compared with the one that is there.
        run(*export)
        with serve_models(repository) as triton, TridentClient(triton.http_url) as client:
            assert run("evaluate", "toy", "--server", triton.http_url, *data) == scored
            dog, cat = client.predict("toy", ["the dog runs.", "a cat sings well at home."])
            assert dog["probability"] > 0.5 > cat["probability"]
            settings = ApiSettings(triton_url=triton.http_url, triton_grpc_url=triton.grpc_url)
            with TestClient(create_app(settings)) as api:
                answer = api.post("/predict/toy", json={"items": [{"sentence": "the dog runs."}]})
            assert answer.json()["results"][0]["probability"] == pytest.approx(dog["probability"], abs=1e-5)
