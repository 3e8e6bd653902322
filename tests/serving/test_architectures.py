"""Every architecture from a tiny classifier over its export to Triton, answering as the checkpoint does.

Their heads are random: that each architecture is fine-tuned is shown in ``unit/training``. Those of T5's kind have no
head that is served; they are fine-tuned here as sentence encoders.
"""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_variants import add_head
from trident_client import TridentClient
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
#: Sentence encoders, without a table of positions.
EMBEDDERS = {"t5": "sts_t5", "mt5": "sts_mt5", "umt5": "sts_umt5"}
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
    """A repository with one classifier or sentence encoder of each architecture, float32."""
    folder = tmp_path_factory.mktemp("architectures")
    models = folder / "models"
    for source in (*SOURCE.glob("cola*"), *SOURCE.glob("sts*")):
        if source.name.partition("_")[2] in {"", "classifier", "embedding", "encoder", "tokenizer"}:
            shutil.copytree(source, models / source.name, ignore=shutil.ignore_patterns("model.pt", "*.json"))
    for file in models.glob("*/config.pbtxt"):
        file.write_text(file.read_text().replace('"128"', f'"{MAX_TOKENS}"').replace("[ 128 ]", f"[ {MAX_TOKENS} ]"))
    for architecture, name in NAMES.items():
        checkpoint = add_head(tiny_checkpoint(architecture), "cola", folder / architecture)
        run("export", "cola", "--checkpoint", checkpoint, "--name", name, "--repository", models, *EXPORT)
    rng, words = random.Random(3), ["the", "dog", "sleeps", "today", "Mary", "sees", "park"]
    rows = [
        f"{' '.join(rng.choices(words, k=4))},{' '.join(rng.choices(words, k=4))},{score % 6}" for score in range(80)
    ]
    (folder / "pairs.csv").write_text("\n".join(["sentence1,sentence2,label", *rows]) + "\n")
    learn = ["--data", folder / "pairs.csv", "--epochs", 1, "--learning-rate", "3e-3", "--max-length", MAX_TOKENS]
    for architecture, name in EMBEDDERS.items():
        run("finetune", "sts", "--model", tiny_checkpoint(architecture), "--output", folder / architecture, *learn)
        checkpoint = folder / architecture / "best"
        options = ["--max-tokens", MAX_TOKENS, "--repository", models, *EXPORT]
        run("export", "sts", "--checkpoint", checkpoint, "--name", name, *options)
    # What they are variants of is not built.
    for source in SOURCE.glob("sts*"):
        shutil.rmtree(models / source.name, ignore_errors=True)
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


@pytest.mark.parametrize("architecture", EMBEDDERS)
def test_served_embeddings_are_those_that_sentence_transformers_makes(architecture, triton, repository):
    from sentence_transformers import SentenceTransformer

    plain = SentenceTransformer(str(repository.parent / architecture / "best"))
    plain.max_seq_length = MAX_TOKENS
    expected = plain.encode(SENTENCES)
    assert (expected @ expected.T).min() < 0.9, "sentences that are all alike would prove nothing"
    with TridentClient(triton.http_url) as client:
        found = np.array(client.embed(SENTENCES, model=EMBEDDERS[architecture]))
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


@pytest.mark.parametrize(
    "folder", [*(f"{name}_classifier" for name in NAMES.values()), *(f"{name}_encoder" for name in EMBEDDERS.values())]
)
def test_nothing_is_padded(folder, repository):
    report = json.loads((repository / folder / "1" / "export.json").read_text())
    assert report["packed"], report["padded_because"]


def test_checkpoint_and_server_are_scored_alike(triton, repository, toy_data):
    checkpoint = repository.parent / "bert"
    of_checkpoint = run("evaluate", "cola", "--checkpoint", checkpoint, "--data", toy_data, "--max-length", MAX_TOKENS)
    for protocol, url in (("http", triton.http_url), ("grpc", triton.grpc_url)):
        assert run("evaluate", "cola", "--server", url, "--protocol", protocol, "--data", toy_data) == of_checkpoint
    assert "matthews" in of_checkpoint
