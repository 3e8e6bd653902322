"""Temperatures that make scores probabilities."""

import json
import math

import numpy as np
import pytest
from trident_training.tasks.qa.calibration import FILE, Calibration, calibration_error, fit_temperature, fit_threshold
from trident_training.tasks.qa.scoring import Reading, calibrate
from trident_training.tasks.qa.spans import Span
from trident_training.tasks.qa.training import PassageWindows


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
    class Penalized:
        questions = [{"context": "the quick fox", "answers": {"text": ["fox"]}}] * 3

        def spans(self, calibration: Calibration) -> list[list[Span]]:
            start = 10 if calibration.length_penalty >= enough else 4
            return [[Span(start, 13, 0.5 ** (1 / calibration.temperature))]] * 3

        def margins(self, length_penalty: float) -> tuple[list[str], list[float]]:
            return ["fox" if length_penalty >= enough else "quick fox"] * 3, [-1.0] * 3

    found, scores = calibrate(Penalized(), may_be_unanswerable=True)
    assert (found.length_penalty, found.may_be_unanswerable) == (chosen, True)
    assert scores["exact_match"] == (0 if enough > 1 else 100)


def read(questions: list[tuple[str, float]]) -> Reading:
    """Return what a reader made of one-word contexts: the logits of its word, and of there being no answer."""
    rows = [
        {"context": "word", "answers": {"text": [text] if text else [], "answer_start": []}} for text, _ in questions
    ]
    passages = [PassageWindows([row], np.array([(0, 4)]), [(1, 1, 0)]) for row in range(len(rows))]
    logits = [np.array([null / 2, 1.0], np.float32) for _, null in questions]
    return Reading(rows, passages, logits, logits)


def test_the_threshold_of_no_answer_is_where_questions_are_answered_best():
    # Margins of -1, 1 and 2 with an answer, 3 and 4 without one, and one without that looks as if it had one.
    reading = read([("word", 1), ("word", 3), ("word", 4), ("", 5), ("", 6), ("", 0.5)])
    found, scores = calibrate(reading, may_be_unanswerable=True)
    assert found.no_answer_threshold == pytest.approx(2.5)
    assert (scores["refused"], scores["answered"]) == (pytest.approx(200 / 3), 100)
    texts = [
        "".join(q["context"][s.start : s.end] for s in spans)
        for q, spans in zip(reading.questions, reading.spans(found), strict=True)
    ]
    assert texts == ["word"] * 3 + ["", "", "word"]
    # A reader that was not taught is not asked to decline.
    plain, scores = calibrate(reading, may_be_unanswerable=False)
    assert plain.no_answer_threshold == 0
    assert scores["refused"] == 0


def test_a_threshold_does_not_part_what_is_alike_nor_learn_from_what_is_not_read():
    assert fit_threshold([1.0, 1.0], [1.0, 0.0], [0.0, 1.0]) in {0.0, 2.0}
    assert fit_threshold([math.inf, 1.0, 3.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]) == 2.0
    assert fit_threshold([math.inf], [0.0], [1.0]) == 0.0


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
        {"no_answer_threshold": math.nan},
        {"heat": 1},
    ],
)
def test_what_is_no_calibration_is_refused(tmp_path, content):
    (tmp_path / FILE).write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match=r"calibration|above 0 is accepted|0 or more is accepted|finite number is accepted"
    ):
        Calibration.read(tmp_path)
