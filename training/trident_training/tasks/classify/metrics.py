"""Metrics of labels that texts have one or several of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set

from sklearn.metrics import accuracy_score, f1_score
from sklearn.preprocessing import MultiLabelBinarizer


def label_metrics(predictions: Sequence[Set[str]], references: Sequence[Set[str]]) -> dict[str, float]:
    """Return what predicted labels are worth.

    Args:
        predictions: of each text the labels that it was given.
        references: of each text those that it has.

    Returns:
        ``macro_f1``, the mean of all labels' F1, 0 for one that is never right; ``accuracy``, the share of texts whose
        labels are all right; ``largest_share``, the share of texts that were given the labels most often given.

    Example:
        >>> label_metrics([{"a"}, {"a"}, {"b"}], [{"a"}, {"b"}, {"b"}])["macro_f1"]
        0.6666666666666666
    """
    binarizer = MultiLabelBinarizer().fit([*predictions, *references])
    found, expected = binarizer.transform(predictions), binarizer.transform(references)
    [(_, most)] = Counter(map(frozenset, predictions)).most_common(1)
    return {
        "macro_f1": float(f1_score(expected, found, average="macro", zero_division=0)),
        "accuracy": float(accuracy_score(expected, found)),
        "largest_share": most / len(predictions),
    }
