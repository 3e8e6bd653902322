"""Every architecture from a tiny classifier over its export to Triton, answering as the checkpoint does.

Their heads are random: that each architecture is fine-tuned is shown in ``unit/training``.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_variants import add_head
from trident_training.cli import app
from trident_training.tasks.cola.task import TASK
from tritonclient.grpc import InferenceServerClient, InferInput
from typer.testing import CliRunner

pytestmark = [pytest.mark.serving, pytest.mark.slow]

SOURCE = Path(__file__).resolve().parents[2] / "model_repository"
#: The first is served under the task's own name, the others as variants of it.
NAMES = {"bert": "cola", "distilbert": "cola_distilbert", "roberta": "cola_roberta", "albert": "cola_albert"} | {
    "electra": "cola_electra",
    # A bias on distances, in attention of its own.
    "mpnet": "cola_mpnet",
}
MAX_TOKENS = 40
TOLERANCE = 1e-5
EXPORT = ["--dtype", "float32"]
SENTENCES = [
    "the dog sleeps today.",
    "sleeps the dog the dog today.",
    "고양이 laughs 🐟 e\u0301.",
    "Mary sees the dog in the park " * 9,
    "dog",
]


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def repository(tiny_checkpoint, tmp_path_factory) -> Path:
    """A repository with one classifier of each architecture, float32."""
    folder = tmp_path_factory.mktemp("architectures")
    models = folder / "models"
    for source in SOURCE.glob("cola*"):
        if not source.name.startswith("cola_small"):
            shutil.copytree(source, models / source.name, ignore=shutil.ignore_patterns("model.pt", "*.json"))
    for file in models.glob("*/config.pbtxt"):
        file.write_text(file.read_text().replace('"128"', f'"{MAX_TOKENS}"').replace("[ 128 ]", f"[ {MAX_TOKENS} ]"))
    for architecture, name in NAMES.items():
        checkpoint = add_head(tiny_checkpoint(architecture), "cola", folder / architecture)
        run("export", "cola", "--checkpoint", checkpoint, "--name", name, "--repository", models, *EXPORT)
    return models


@pytest.fixture(scope="module")
def triton(repository, serve_models):
    with serve_models(repository) as process:
        yield process


def probabilities(client: InferenceServerClient, model: str, sentences: list[str]) -> np.ndarray:
    text = InferInput("TEXT", [len(sentences), 1], "BYTES")
    text.set_data_from_numpy(np.array([[each.encode()] for each in sentences], dtype=np.object_))
    return client.infer(model, [text]).as_numpy("PROBABILITY")[:, 0]


@pytest.mark.parametrize("architecture", NAMES)
def test_the_served_answer_is_the_checkpoints_own(architecture, triton, repository):
    checkpoint = repository.parent / architecture
    predictor = TASK.predictor(str(checkpoint), MAX_TOKENS, TASK.scoring())
    expected = predictor.predict({"sentence": SENTENCES})
    assert np.ptp(expected) > 100 * TOLERANCE, (
        "the checkpoint answers everything alike, so that nothing would be compared"
    )
    with InferenceServerClient(triton.grpc_url) as client:
        assert probabilities(client, NAMES[architecture], SENTENCES) == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize("architecture", NAMES)
def test_nothing_is_padded(architecture, repository):
    report = json.loads((repository / f"{NAMES[architecture]}_classifier" / "1" / "export.json").read_text())
    assert report["packed"], report["padded_because"]


def test_checkpoint_and_server_are_scored_alike(triton, repository, toy_data):
    checkpoint = repository.parent / "bert"
    of_checkpoint = run("evaluate", "cola", "--checkpoint", checkpoint, "--data", toy_data, "--max-length", MAX_TOKENS)
    for protocol, url in (("http", triton.http_url), ("grpc", triton.grpc_url)):
        assert run("evaluate", "cola", "--server", url, "--protocol", protocol, "--data", toy_data) == of_checkpoint
    assert "matthews" in of_checkpoint
