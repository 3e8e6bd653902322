"""Temperatures that make scores probabilities."""

import json
import math

import numpy as np
import pytest
from trident_training.calibration import (
    FILE,
    PENALTIES,
    Calibration,
    calibration_error,
    fit_length_penalty,
    fit_temperature,
)


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


def test_the_least_of_the_length_penalties_with_the_best_answers_is_taken():
    assert fit_length_penalty(lambda penalty: -abs(penalty - 0.07)) in {0.06, 0.08}
    assert fit_length_penalty(lambda penalty: 0.0) == 0.0
    assert fit_length_penalty(lambda penalty: float(penalty >= 0.1)) == 0.1
    assert sorted(PENALTIES) == list(PENALTIES)


def test_a_calibration_is_written_and_read_back(tmp_path):
    assert Calibration.beside(tmp_path) == Calibration(1.0, 0.0, False)
    (tmp_path / FILE).write_text(Calibration(1.7, 0.1, True).to_json())
    assert Calibration.beside(tmp_path) == Calibration(1.7, 0.1, True)


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
        Calibration.beside(tmp_path)
