"""Predicted against gold similarity as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt


def plot_similarity(
    scores: npt.NDArray[Any], gold: npt.NDArray[Any], threshold: float, similar: float, file: Path
) -> None:
    """Draw predicted against gold similarity, and how many pairs are called similar rightly and wrongly.

    Args:
        scores: what was predicted ``[n]``.
        gold: 0 to 5 ``[n]``.
        threshold: predicted similarity from which two sentences are called similar.
        similar: gold similarity from which they are.
        file: a PNG.
    """
    from matplotlib.figure import Figure
    from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.scatter(gold, scores, s=8, alpha=0.3)
    left.axhline(threshold, color="C3", linestyle="--", label=f"threshold {threshold:.3f}")
    left.axvline(similar, color="0.5", linestyle=":", label=f"similar from {similar:g}")
    left.set(xlabel="gold similarity", ylabel="predicted similarity")
    left.grid(alpha=0.3)
    left.legend(loc="upper left")
    # Both, whether or not they are there.
    matrix = confusion_matrix(gold >= similar, scores >= threshold, labels=[False, True])
    labels = ["not similar", "similar"]
    ConfusionMatrixDisplay(matrix, display_labels=labels).plot(ax=right, cmap="Blues", colorbar=False)
    right.set(xlabel="called", ylabel="gold")
    figure.savefig(file, dpi=120)
