"""Temperatures that make scores probabilities."""

import json
import math

import numpy as np
import pytest
from trident_training.tasks.qa.calibration import FILE, Calibration, calibration_error, fit_temperature
from trident_training.tasks.qa.scoring import calibrate
from trident_training.tasks.qa.spans import Span


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 2.5])
def test_the_temperature_under_which_scores_are_chances_is_found(true_temperature):
    generator = np.random.default_rng(0)
    logits = generator.normal(0.5, 3, size=20_000)
    right = generator.random(20_000) < 1 / (1 + np.exp(-logits / true_temperature))

    def scores(temperature: float) -> np.ndarray:
        return 1 / (1 + np.exp(-logits / temperature))

    found = fit_temperature(scores, right)
    assert found == pytest.approx(true_temperature, rel=0.05)
    assert calibration_error(scores(found), right) < 0.01
    assert calibration_error(scores(found * 3), right) > 0.05


def test_the_calibration_error_is_the_gap_between_scores_and_right_answers():
    # Two bins: 0.9 on average and half right, 0.2 and all wrong.
    assert calibration_error([0.9, 0.9, 0.2, 0.2], [True, False, False, False]) == pytest.approx(
        (abs(1.8 - 1) + abs(0.4 - 0)) / 4
    )
    assert calibration_error([1.0, 1.0], [True, True]) == 0


@pytest.mark.parametrize(("enough", "chosen"), [(0.0, 0.0), (0.08, 0.08), (9.0, 0.0)])
def test_the_least_length_penalty_with_the_best_answers_is_taken(enough, chosen):
    questions = [{"context": "the quick fox", "answers": {"text": ["fox"]}}] * 3

    def spans(calibration: Calibration) -> list[list[Span]]:
        start = 10 if calibration.length_penalty >= enough else 4
        return [[Span(start, 13, 0.5 ** (1 / calibration.temperature))]] * 3

    found, scores = calibrate(spans, questions, may_be_unanswerable=True)
    assert (found.length_penalty, found.may_be_unanswerable) == (chosen, True)
    assert scores["exact_match"] == (0 if enough > 1 else 100)


def test_a_calibration_is_written_and_read_back(tmp_path):
    assert Calibration.read(tmp_path) == Calibration(1.0, 0.0, False)
    (tmp_path / FILE).write_text(Calibration(1.7, 0.1, True).to_json())
    assert Calibration.read(tmp_path) == Calibration(1.7, 0.1, True)


@pytest.mark.parametrize(
    "content",
    [
        {"temperature": 0},
        {"temperature": math.inf},
        {"length_penalty": -0.1},
        {"length_penalty": math.inf},
        {"heat": 1},
    ],
)
def test_what_is_no_calibration_is_refused(tmp_path, content):
    (tmp_path / FILE).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"calibration|above 0 is accepted|0 or more is accepted"):
        Calibration.read(tmp_path)
