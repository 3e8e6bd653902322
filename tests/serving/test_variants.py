"""A second set of models beside the first: exported under a name of its own, served, listed and asked."""

import json
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import regex
from fastapi.testclient import TestClient
from tiny_variants import add_head
from tokenizers import Tokenizer
from trident_api.app import create_app
from trident_api.settings import ApiSettings
from trident_client import ModelInfo, NotReadyError, TridentClient
from trident_server.errors import ExchangeError
from trident_server.exchange import TritonApi, check_answers
from trident_training.checkpoints.pooling import Pooling
from trident_training.cli import app
from trident_training.export.pipeline import CHECKED
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
def reader(tiny_checkpoint, tmp_path_factory) -> Path:
    """A tiny reader with a vocabulary of pieces, as multilingual encoders have it."""
    return add_head(tiny_checkpoint("albert"), "qa", tmp_path_factory.mktemp("reader") / "checkpoint")


@pytest.fixture(scope="module")
def triton(checkpoint, reader, tmp_path_factory, serve_models):
    """A server of the project's own models of similarity, and of variants of theirs and of the reader's."""
    repository = tmp_path_factory.mktemp("repository")
    for folder in MODEL_REPOSITORY.glob("sts*"):
        if not folder.name.startswith(("sts_ko", "sts_base")):
            shutil.copytree(folder, repository / folder.name, ignore=shutil.ignore_patterns("__pycache__"))
    options = ["--name", "sts_tiny", "--checkpoint", checkpoint, "--max-tokens", 24, "--dtype", "float32"]
    done = CliRunner().invoke(app, ["export", "sts", *map(str, options), "--repository", str(repository)])
    assert done.exit_code == 0, done.output
    export_korean_reader(reader, repository)
    with serve_models(repository) as process:
        yield process


def export_korean_reader(reader, repository):
    """Export a reader that always says that there is no answer, unless that is ruled out."""
    own = [folder for folder in MODEL_REPOSITORY.glob("qa*") if not folder.name.startswith(("qa_ko", "qa_small"))]
    for folder in own:
        shutil.copytree(
            folder, repository / folder.name, ignore=shutil.ignore_patterns("model.pt", "*.json", "__pycache__")
        )
    file = repository / "qa_tokenizer" / "config.pbtxt"
    file.write_text(file.read_text().replace('"96"', '"8"'))
    options = ["--name", "qa_ko", "--checkpoint", reader, "--max-tokens", 60, "--dtype", "float32", "--language", "ko"]
    further = ["--unanswerable", "--no-answer-threshold", -1000, "--repository", repository]
    done = CliRunner().invoke(app, ["export", "qa", *map(str, [*options, *further])])
    assert done.exit_code == 0, done.output
    for folder in own:
        shutil.rmtree(repository / folder.name)


@pytest.mark.parametrize("network", ["sts_tiny_encoder", "qa_ko_reader"])
def test_a_network_answers_in_triton_what_its_export_noted(triton, network, tmp_path):
    file = triton._repository / network / "1" / "check.json"
    api = TritonApi(triton.http_url, 60)
    assert len(json.loads(file.read_text())) == CHECKED
    assert check_answers(api, file, 1) < 1e-3
    other = tmp_path / network / "1" / "check.json"
    other.parent.mkdir(parents=True)
    noted = json.loads(file.read_text())
    noted[-1]["values"] = [-each for each in noted[-1]["values"]]
    other.write_text(json.dumps(noted))
    with pytest.raises(ExchangeError, match=f"{network} does not answer as its export did: it is off by 200"):
        check_answers(api, other, 1)


def pieces_of(triton, name):
    """Return how many pieces a set's tokenizer has, as its library counts them."""
    file = triton._repository / f"{name}_tokenizer" / "1" / "tokenizer.json"
    return Tokenizer.from_file(str(file)).get_vocab_size()


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_both_sets_are_listed_and_answer(triton, checkpoint, protocol):
    from sentence_transformers import SentenceTransformer

    url = triton.http_url if protocol == "http" else triton.grpc_url
    with TridentClient(url, protocol=protocol) as client:
        _, sts, tiny = client.models()
        assert (sts.name, sts.task, sts.dimension) == ("sts", "sts", 384)
        known = {"max_tokens": 24, "vocabulary": pieces_of(triton, "sts_tiny")}
        assert tiny == ModelInfo("sts_tiny", "sts", ("ko",), 32, 0.99, {"f1": 0.7}, **known)
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
        assert [model["name"] for model in api.get("/models").json()["models"]] == ["qa_ko", "sts", "sts_tiny"]
        answer = api.post("/generate", json=pair).json()
        assert answer["pred"] == int(answer["score"] >= 0.99) == 0
        same = api.post("/generate", json=pair | {"sentence_2": PAIRS[0][0]}).json()
        assert same["pred"] == 1
        refused = api.post("/generate", json=pair | {"model": "sts_none"})
        assert refused.status_code == 422
        assert refused.json()["detail"].endswith("accepted are sts, sts_tiny")


def test_token_ids_of_a_set_have_its_texts_embeddings(triton):
    settings = ApiSettings(triton_url=triton.http_url, triton_grpc_url=triton.grpc_url)
    texts = [text for pair in PAIRS for text in pair] * 12
    with TestClient(create_app(settings)) as api:
        told = api.post("/tokenize", json={"inputs": texts, "model": "sts_tiny"}).json()
        rows = [[token["id"] for token in row] for row in told]
        asked = [{"input": texts}, {"input": rows, "model_token_ids": True}]
        (ours, counted), (theirs, same) = (
            ([each["embedding"] for each in answer["data"]], answer["usage"])
            for answer in (api.post("/v1/embeddings", json={"model": "sts_tiny"} | each).json() for each in asked)
        )
        np.testing.assert_allclose(theirs, ours, atol=1e-6)
        assert counted == same
        last = pieces_of(triton, "sts_tiny") - 1
        for ids, status in ([last], 200), ([last + 1], 400), ([0] * 24, 200), ([0] * 25, 400):
            body = {"model": "sts_tiny", "input": ids, "model_token_ids": True}
            assert api.post("/v1/embeddings", json=body).status_code == status


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_korean_reader_answers_under_its_name_and_may_decline(triton, form):
    context = unicodedata.normalize(form, "한강은 태백시에서\r\n시작하여 서울을 지나 José의 황해로 흐른다. ") * 12
    asked = {"question": unicodedata.normalize(form, "한강은 어디에서 시작하는가?"), "context": context}
    letters = {0, *(found.end() for found in regex.finditer(r"\X", context))}
    with TridentClient(triton.http_url) as client:
        known = {"max_tokens": 60, "vocabulary": pieces_of(triton, "qa_ko")}
        assert client.models()[0] == ModelInfo("qa_ko", "qa", ("ko",), **known)
        (declined,) = client.answer(**asked, model="qa_ko")
        assert (declined.answer, declined.start, declined.end, declined.score) == ("", 0, 0, pytest.approx(1))
        answers = client.answer(**asked, top_k=5, model="qa_ko", no_answer=False)
        assert answers
        for each in answers:
            assert each.answer == context[each.start : each.end] != ""
            assert {each.start, each.end} <= letters
    settings = ApiSettings(triton_url=triton.http_url, triton_grpc_url=triton.grpc_url)
    with TestClient(create_app(settings)) as api:
        body = asked | {"model": "qa_ko"}
        assert api.post("/generate", json=body).json() == declined._asdict()
        found = api.post("/qa", json=body | {"no_answer": False}).json()
        assert (found["start"], found["end"]) == (answers[0].start, answers[0].end)
