"""The metrics, against values worked out by hand."""

import math

import pytest
from trident_training.metrics.decisions import F1, Accuracy
from trident_training.tasks.cola.metrics import BySource, MatthewsCorrelation

# 3 true positives, 1 false positive, 2 true negatives, 2 false negatives.
REFERENCES = [1, 1, 1, 0, 0, 0, 1, 1]
PREDICTIONS = [1, 1, 1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (MatthewsCorrelation, (3 * 2 - 1 * 2) / math.sqrt(4 * 5 * 3 * 4)),
        (Accuracy, 5 / 8),
        (F1, 2 * (3 / 4) * (3 / 5) / (3 / 4 + 3 / 5)),
    ],
)
def test_metrics_are_what_their_formulas_give(metric, expected):
    result = metric().compute(predictions=PREDICTIONS, references=REFERENCES)
    assert result == {metric.primary: pytest.approx(expected)}
    assert metric.greater_is_better


def test_metrics_collect_batches():
    metric = MatthewsCorrelation()
    for prediction, reference in zip(PREDICTIONS, REFERENCES, strict=True):
        metric.add(prediction=prediction, reference=reference)
    assert metric.compute() == MatthewsCorrelation().compute(predictions=PREDICTIONS, references=REFERENCES)


@pytest.mark.parametrize("references", [[1, 0, 1], [1, 1, 1]])
def test_one_label_alone_correlates_with_nothing(references, recwarn):
    result = MatthewsCorrelation().compute(predictions=[1, 1, 1], references=references)
    assert result == {"matthews_correlation": 0.0}
    assert not recwarn.list


def test_f1_without_any_positive_is_zero():
    assert F1().compute(predictions=[0, 0], references=[0, 0]) == {"f1": 0.0}


def test_each_source_has_its_row():
    result = BySource().compute(
        predictions=[1, 0, 1, 1, 0], references=[1, 0, 0, 1, 0], sources=["b", "b", "a", "a", "a"]
    )
    assert result["by_source"] == {
        "a": {"matthews_correlation": pytest.approx(0.5), "accuracy": pytest.approx(2 / 3), "sentences": 3},
        "b": {"matthews_correlation": pytest.approx(1.0), "accuracy": 1.0, "sentences": 2},
    }
    assert result["worst"] == pytest.approx(0.5)
