"""The repository in the form that is nearest to the container's: what the image does differently, done once here.

Every Python model is the wheel's stock backend's, with a process of its own; every instance answers one batch after
another; weights are not prepacked; and models are served with ``configs/container.pbtxt`` where they have one.
"""

import shutil
from collections.abc import Iterator

import numpy as np
import psutil
import pytest
import torch
from container_form import as_in_the_container, networks_of
from image_context import stage
from passages import FILLER, FOUNDED, ask_beside_long_passages
from trident_client import Timeout, TridentClient
from trident_server.process import TritonProcess
from tritonclient.grpc import InferenceServerClient

pytestmark = pytest.mark.serving

SENTENCES = ["I am a boy.", "I are a boy.", "The cat sat on the mat because it was warm there.", "Sleeps."]
PAIRS = [("A man is playing a guitar.", "Someone plays an instrument."), ("It rains.", "The harvest was good.")]
#: A core that others keep busy may read a long passage for minutes.
PATIENT = Timeout(read=600)


@pytest.fixture(scope="module")
def stand_in(serve_models, tmp_path_factory) -> Iterator[TritonProcess]:
    repository = stage("model_repository", tmp_path_factory.mktemp("stand_in") / "models")
    # Of the same code as those they are variants of, and each network's process loads torch by itself.
    for folder in (each for pattern in ("*_ko*", "*_small*", "*_base*") for each in repository.glob(pattern)):
        shutil.rmtree(folder)
    as_in_the_container(repository)
    with serve_models(repository, isolated=True, config_name="container") as process:
        yield process


@pytest.fixture(scope="module")
def clients(stand_in, triton) -> Iterator[tuple[TridentClient, TridentClient]]:
    """One of the stand-in, one of the embedded server as `make serve` has it."""
    with TridentClient(stand_in.http_url) as there, TridentClient(triton.http_url) as here:
        yield there, here


def tolerance() -> float:
    """How far answers in the dtype that is served may be off: bfloat16's by prepacking alone."""
    return 0.02 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else 1e-4


def test_every_instance_has_a_process_of_its_own_and_no_weights_are_prepacked(stand_in):
    stubs = [each for each in psutil.Process(stand_in.pid).children(recursive=True) if "stub" in each.name()]
    networks = networks_of(stand_in)
    assert {name for name, _ in networks} >= {"cola_classifier", "qa_reader", "sts_encoder"}
    assert {layers for _, layers in networks} == {"0"}
    assert [name for name, _ in networks].count("qa_reader") == 2
    assert len(stubs) >= len(networks) + 4
    assert "Python, in Triton's process" not in stand_in.log_file.read_text()


def test_sentences_and_pairs_are_answered_as_by_the_embedded_server(clients):
    there, here = clients
    np.testing.assert_allclose(there.acceptability(SENTENCES), here.acceptability(SENTENCES), atol=tolerance())
    np.testing.assert_allclose(there.similarity(PAIRS), here.similarity(PAIRS), atol=tolerance())
    np.testing.assert_allclose(there.embed(SENTENCES), here.embed(SENTENCES), atol=tolerance())


def test_questions_are_answered_as_by_the_embedded_server(clients):
    questions = [("Who founded the observatory?", FILLER * n + FOUNDED) for n in (0, 1, 9, 40)]
    for there, here in zip(*(each.answer_many(questions) for each in clients), strict=True):
        assert (there[0].answer, there[0].start, there[0].end) == (here[0].answer, here[0].start, here[0].end)
        assert there[0].score == pytest.approx(here[0].score, abs=5 * tolerance())


def test_a_short_question_does_not_wait_for_a_long_passage(stand_in):
    # Half the cores read the passage, one batch of it after another: what counts is who is answered first.
    with TridentClient(stand_in.http_url, timeout=PATIENT) as client:
        assert ask_beside_long_passages(stand_in, client, 15_000) == ["Clara Whitmore"] * 2


def test_the_reader_has_the_containers_configuration(stand_in):
    with InferenceServerClient(stand_in.grpc_url) as client:
        config = client.get_model_config("qa_reader").config
    assert config.instance_group[0].count == 2
    assert config.parameters["ENABLE_WEIGHT_SHARING"].string_value == "true"
