"""A second set of models beside the first: exported under a name of its own, served, listed and asked."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from trident_api.app import create_app
from trident_api.settings import ApiSettings
from trident_client import ModelInfo, NotReadyError, TridentClient
from trident_training.checkpoints.pooling import Pooling
from trident_training.cli import app
from trident_training.tasks.sts.card import SimilarityCard
from trident_training.tasks.sts.pairs import MODULES
from typer.testing import CliRunner

pytestmark = pytest.mark.serving

MODEL_REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"
PAIRS = [("the dog sleeps today.", "a cat laughs."), ("고양이 runs.", "고양이 runs."), ("Mary", "every student sings")]


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint, tmp_path_factory) -> Path:
    """A tiny RoBERTa that takes the largest of its tokens, with a card."""
    folder = tmp_path_factory.mktemp("variant") / "checkpoint"
    shutil.copytree(tiny_checkpoint("roberta"), folder)
    (folder / "modules.json").write_text(json.dumps(MODULES))
    Pooling.MAX.write(folder, 32)
    SimilarityCard(threshold=0.99, languages=("ko",), metrics={"f1": 0.7}).write(folder)
    return folder


@pytest.fixture(scope="module")
def triton(checkpoint, tmp_path_factory, serve_models):
    """A server of the project's own models of similarity and of the variant."""
    repository = tmp_path_factory.mktemp("repository")
    for folder in MODEL_REPOSITORY.glob("sts*"):
        if not folder.name.startswith("sts_ko"):
            shutil.copytree(folder, repository / folder.name, ignore=shutil.ignore_patterns("__pycache__"))
    options = ["--name", "sts_tiny", "--checkpoint", checkpoint, "--max-tokens", 24, "--dtype", "float32"]
    done = CliRunner().invoke(app, ["export", "sts", *map(str, options), "--repository", str(repository)])
    assert done.exit_code == 0, done.output
    with serve_models(repository) as process:
        yield process


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_both_sets_are_listed_and_answer(triton, checkpoint, protocol):
    from sentence_transformers import SentenceTransformer

    url = triton.http_url if protocol == "http" else triton.grpc_url
    with TridentClient(url, protocol=protocol) as client:
        sts, tiny = client.models()
        assert (sts.name, sts.task, sts.dimension) == ("sts", "sts", 384)
        assert tiny == ModelInfo("sts_tiny", "sts", ("ko",), 32, 0.99, {"f1": 0.7})
        theirs = SentenceTransformer(str(checkpoint))
        texts = [text for pair in PAIRS for text in pair]
        embeddings = client.embed(texts, model="sts_tiny")
        np.testing.assert_allclose(embeddings, theirs.encode(texts), atol=1e-5)
        cosines = client.similarity(PAIRS, model="sts_tiny")
        np.testing.assert_allclose(cosines, (embeddings[::2] * embeddings[1::2]).sum(1), atol=1e-5)
        assert client.embed(texts).shape == (6, 384)
        with pytest.raises(NotReadyError):
            client.similarity(PAIRS, model="sts_none")
    assert "model 'sts_tiny_tokenizer': Python, in Triton's process" in triton.log_file.read_text()


def test_the_facade_takes_the_models_name_and_its_threshold(triton):
    settings = ApiSettings(triton_url=triton.http_url, triton_grpc_url=triton.grpc_url)
    pair = {"sentence_1": PAIRS[0][0], "sentence_2": PAIRS[0][1], "model": "sts_tiny"}
    with TestClient(create_app(settings)) as api:
        assert [model["name"] for model in api.get("/models").json()["models"]] == ["sts", "sts_tiny"]
        answer = api.post("/generate", json=pair).json()
        assert answer["pred"] == int(answer["score"] >= 0.99) == 0
        same = api.post("/generate", json=pair | {"sentence_2": PAIRS[0][0]}).json()
        assert same["pred"] == 1
        refused = api.post("/generate", json=pair | {"model": "sts_none"})
        assert refused.status_code == 422
        assert refused.json()["detail"].endswith("accepted are sts, sts_tiny")
