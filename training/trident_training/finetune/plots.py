"""A fine-tuning as a picture: loss and metric by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

#: Logged losses that one point of the drawn line is the mean of.
SMOOTHED = 10


def plot_training(log: Sequence[Mapping[str, float]], primary: str, file: Path) -> None:
    """Draw the training loss by step, the validation loss, and the metric after every evaluation.

    Args:
        log: the trainer's history.
        primary: the metric's name.
        file: a PNG.
    """
    from matplotlib.figure import Figure

    losses = [(entry["step"], entry["loss"]) for entry in log if "loss" in entry]
    found = [(entry["step"], entry["eval_loss"], entry[f"eval_{primary}"]) for entry in log if "eval_loss" in entry]
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    if losses:
        steps, values = np.array(losses).T
        width = min(SMOOTHED, max(1, len(values) // SMOOTHED))
        left.plot(steps, values, color="C0", alpha=0.25)
        mean = np.convolve(values, np.ones(width) / width, mode="valid")
        left.plot(steps[width - 1 :], mean, color="C0", label="training")
    left.plot([step for step, *_ in found], [loss for _, loss, _ in found], "o-", color="C1", label="validation")
    left.set(xlabel="step", ylabel="loss")
    right.plot([step for step, *_ in found], [value for *_, value in found], "o-", color="C2")
    right.set(xlabel="step", ylabel=f"validation {primary.replace('_', ' ')}")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    left.legend()
    figure.savefig(file, dpi=120)
