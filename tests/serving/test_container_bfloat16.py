"""bfloat16 in the form that is nearest to the container's: the wheel's Python backend, a process each, no prepacking.

The built models are bfloat16 only where the processor is fast at it, so tiny ones of random weights are exported here.
Any processor computes them, and what they answer is held to the float32 checkpoints themselves.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from container_form import as_in_the_container, networks_of
from tiny_variants import DOC_STRIDE, MAX_TOKENS, add_head, export_variants
from trident_client import TridentClient
from trident_server.process import TritonProcess
from trident_training.tasks.cola.task import TASK as COLA
from trident_training.tasks.qa.calibration import Calibration
from trident_training.tasks.qa.scoring import CheckpointReader

pytestmark = pytest.mark.serving

#: bfloat16 has eight bits: a product is off by 0.004 of itself at most, and some ten of them follow each other.
TOLERANCE = 0.04
SUBJECTS = ("the dog", "a cat", "the old king", "고양이", "Mary sees the dog and my friend")
VERBS = ("sleeps today", "eats fish", "sings well in the park every day", "runs")
SENTENCES = [f"{subject} {verb}." for subject, verb in itertools.product(SUBJECTS, VERBS)]
ARCHITECTURES = {"cola": "bert", "sts": "roberta", "qa": "bert"}


@pytest.fixture(scope="module")
def checkpoints(tiny_checkpoint, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tiny")
    return {task: add_head(tiny_checkpoint(kind), task, folder / task) for task, kind in ARCHITECTURES.items()}


@pytest.fixture(scope="module")
def stand_in(checkpoints, serve_models, tmp_path_factory) -> Iterator[TritonProcess]:
    repository = tmp_path_factory.mktemp("bfloat16") / "models"
    export_variants(checkpoints, repository, "bfloat16")
    reports = [json.loads(file.read_text()) for file in repository.glob("*/1/export.json")]
    assert [report["dtype"] for report in reports] == ["bfloat16"] * 3
    as_in_the_container(repository)
    with serve_models(repository, isolated=True, config_name="container") as process:
        yield process


@pytest.fixture(scope="module")
def client(stand_in) -> Iterator[TridentClient]:
    with TridentClient(stand_in.http_url) as client:
        yield client


def assert_rounded(served: np.ndarray, exact: np.ndarray) -> None:
    """Fail unless answers are off by some, and by no more than bfloat16 rounds off."""
    assert np.ptp(exact) > 2 * TOLERANCE, "all answers are alike, so that nothing would be compared"
    np.testing.assert_allclose(served, exact, atol=TOLERANCE)
    assert np.abs(served - exact).max() > 1e-4, "these are float32's answers"


def test_networks_have_processes_of_their_own_and_no_prepacked_weights(stand_in):
    networks = networks_of(stand_in)
    assert {name for name, _ in networks} == {"cola_tiny_classifier", "qa_tiny_reader", "sts_tiny_encoder"}
    assert {layers for _, layers in networks} == {"0"}


def test_sentences_are_judged_as_in_float32(client, checkpoints):
    exact = COLA.predictor(str(checkpoints["cola"]), MAX_TOKENS, None).predict({"sentence": SENTENCES})
    assert_rounded(client.acceptability(SENTENCES, model="cola_tiny"), np.array(exact))


def test_texts_are_embedded_as_in_float32(client, checkpoints):
    from sentence_transformers import SentenceTransformer

    exact = SentenceTransformer(str(checkpoints["sts"])).encode(SENTENCES)
    assert_rounded(client.embed(SENTENCES, model="sts_tiny"), exact)


def test_questions_are_answered_as_in_float32(client, checkpoints, make_question):
    rng = random.Random(3)
    questions = [make_question(number, rng, words=rng.randrange(20, 90)) for number in range(24)]
    answerer = CheckpointReader(str(checkpoints["qa"]), MAX_TOKENS, DOC_STRIDE).answerer(Calibration())
    exact = answerer(questions)
    served = client.answer_many([(each["question"], each["context"]) for each in questions], model="qa_tiny")
    same = [answers[0].answer == text for answers, (text, _) in zip(served, exact, strict=True)]
    # Two spans that are all but alike may change places.
    assert sum(same) >= len(same) - 2
    assert_rounded(np.array([answers[0].score for answers in served]), np.array([score for _, score in exact]))
