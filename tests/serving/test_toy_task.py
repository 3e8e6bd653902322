"""A fourth task that no file of the project names: from data through training, evaluation and export to its answer."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from trident_api.app import create_app
from trident_api.settings import ApiSettings
from trident_client import TridentClient, contract
from trident_client.contract import Ensemble, Output, TaskSpec, TextInput
from trident_training.classification.task import Classification
from trident_training.cli import build
from trident_training.repository import ModelSet
from typer.testing import CliRunner

pytestmark = pytest.mark.serving
SOURCE = Path(__file__).resolve().parents[2] / "model_repository"

# The task: does a text speak of a dog? A row of the contract ...
TOY = TaskSpec(
    name="toy",
    ensembles=(
        Ensemble(
            name="toy",
            inputs=(TextInput("TEXT", "sentence"),),
            outputs=(Output("PROBABILITY", "FP32", "probability"), Output("TRUNCATED_TOKENS", "INT32")),
            truncations=("TRUNCATED_TOKENS",),
        ),
    ),
    network="classifier",
    network_output="PROBABILITY",
    parts=("tokenizer", "classifier"),
    metrics=("accuracy",),
    width=1,
)


# ... and a class.
class Toy(Classification):
    spec = TOY
    labels = {0: "other", 1: "dog"}  # noqa: RUF012


def run(*arguments):
    done = CliRunner().invoke(build([Toy()]), [str(each) for each in arguments])
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def test_a_task_goes_from_its_data_to_a_served_answer(tiny_checkpoint, toy_data, tmp_path, serve_models):
    sentences = [line.split("\t")[3] for line in (toy_data / "train.tsv").read_text().splitlines()]
    rows = [f"{sentence}\t{int('dog' in sentence)}\n" for sentence in sentences]
    for name, chosen in (("train", [row for index, row in enumerate(rows) if index % 5]), ("dev", rows[::5])):
        (tmp_path / f"{name}.tsv").write_text("sentence\tlabel\n" + "".join(chosen))
    data, best, repository = ["--data", tmp_path], tmp_path / "run" / "best", tmp_path / "models"
    learn = ["--epochs", 12, "--learning-rate", "3e-3", "--max-length", 40, "--output", tmp_path / "run"]
    run("finetune", "toy", "--model", tiny_checkpoint("bert"), *data, *learn)
    scored = run("evaluate", "toy", "--checkpoint", best, *data, "--max-length", 40)
    with contract.registered(TOY):
        ModelSet(repository, TOY, "toy").write_like(ModelSet(SOURCE, contract.COLA, "cola"), max_tokens=40)
        export = ["export", "toy", "--checkpoint", best, "--repository", repository, "--dtype", "float32", *data]
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
