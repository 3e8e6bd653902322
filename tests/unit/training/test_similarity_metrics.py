"""Correlations, thresholds and the overlap of characters, against values worked out by hand."""

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score
from trident_training.tasks.sts.metrics import Pearson, Spearman, best_threshold
from trident_training.tasks.sts.scoring import overlap


def test_correlations():
    # Ranks 1 2 3 against 1 3 2: 1 - 6 * 2 / (3 * 8).
    assert Spearman().compute(predictions=[0.1, 0.2, 0.9], references=[0, 4, 2])["spearman"] == pytest.approx(0.5)
    assert Pearson().compute(predictions=[1, 2, 3], references=[1, 3, 2])["pearson"] == pytest.approx(0.5)
    assert Pearson().compute(predictions=[1, 2, 3], references=[5, 7, 9])["pearson"] == pytest.approx(1)


def test_a_constant_correlates_with_nothing():
    assert Spearman().compute(predictions=[1, 1, 1], references=[1, 2, 3]) == {"spearman": 0.0}
    assert Pearson().compute(predictions=[1, 2, 3], references=[2, 2, 2]) == {"pearson": 0.0}


@pytest.mark.parametrize(
    ("scores", "labels", "threshold"),
    [
        ([0.9, 0.8, 0.2], [1, 1, 0], 0.5),
        # F1 is 1/2, 4/5 and 2/3 below the first, second and third but one.
        ([0.9, 0.7, 0.5, 0.3], [0, 1, 1, 0], 0.4),
        # Two equal scores cannot be parted.
        ([0.9, 0.5, 0.5, 0.1], [1, 1, 0, 0], 0.3),
        ([0.9, 0.4], [1, 1], 0.4),
    ],
)
def test_the_best_threshold(scores, labels, threshold):
    assert best_threshold(scores, labels) == pytest.approx(threshold)


@given(st.lists(st.tuples(st.integers(-10, 10), st.booleans()), min_size=1, max_size=40))
def test_no_threshold_is_better(pairs):
    scores, labels = np.array([each / 10 for each, _ in pairs]), np.array([int(label) for _, label in pairs])
    if not labels.any():
        with pytest.raises(ValueError, match="no similar pair"):
            best_threshold(scores, labels)
        return
    found = f1_score(labels, scores >= best_threshold(scores, labels))
    assert found >= max(f1_score(labels, scores >= each, zero_division=0) for each in scores) - 1e-12


def test_overlap_of_characters():
    rows = Dataset.from_dict(
        # ab bc against ab bd: one shared piece of two each.
        {"sentence_1": ["abc", "같은 문장", "a", "abc"], "sentence_2": ["abd", "같은  문장", "A", "xyz"]}
    )
    assert overlap(rows) == pytest.approx([0.5, 1, 1, 0])
