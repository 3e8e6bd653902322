"""The metrics of extracted answers, against values worked out by hand."""

import pytest
from trident_training.tasks.qa.metrics import (
    EditScore,
    KorquadScore,
    SquadScore,
    normalize_korquad,
    normalize_squad,
)


@pytest.mark.parametrize(
    ("metric", "prediction", "references", "exact", "f1"),
    [
        (SquadScore, "The Cat!", ["cat"], 100, 100),
        (SquadScore, "the old cat", ["An old, black cat"], 0, 80),
        (SquadScore, "dog", ["cat", "the dog", "bird"], 100, 100),
        (SquadScore, "", [], 100, 100),
        (SquadScore, "cat", [], 0, 0),
        (SquadScore, "the", ["a"], 100, 100),
        (SquadScore, "cat cat", ["cat"], 0, 200 / 3),
        (KorquadScore, "《서울》", ["서울"], 100, 100),
        # Three of four characters shared with a reference of three.
        (KorquadScore, "1989년에", ["1989년"], 0, 100 * 2 * 5 / 11),
        (KorquadScore, "서울 특별시", ["서울특별시"], 0, 100),
        (KorquadScore, "부산", ["서울"], 0, 0),
    ],
)
def test_scores_are_what_the_definitions_give(metric, prediction, references, exact, f1):
    scores = metric().compute(predictions=[prediction], references=[references])
    assert scores == {"exact_match": pytest.approx(exact), "f1": pytest.approx(f1)}


def test_scores_are_means_over_questions():
    scores = SquadScore().compute(predictions=["cat", "dog", "old cat"], references=[["cat"], ["cat"], ["cat"]])
    assert scores["exact_match"] == pytest.approx(100 / 3)
    assert scores["f1"] == pytest.approx(100 * (1 + 0 + 2 / 3) / 3)


def test_normalisations():
    assert normalize_squad("  The U.S.A. -- an  answer ") == "usa answer"
    assert normalize_korquad("‘대한민국’ (서울)의 A.B") == "대한민국 서울 의 ab"


def test_edit_score_counts_characters_to_the_nearest_reference():
    result = EditScore().compute(predictions=["kitten", "서울시", ""], references=[["sitting", "mitten"], ["서울"], []])
    assert result == {"edit_distance": pytest.approx((1 + 1 + 0) / 3)}
    assert not EditScore.greater_is_better
