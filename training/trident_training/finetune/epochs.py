"""The epochs of a run: their metrics, what they are called, and which is the best."""

from __future__ import annotations

import math
from collections.abc import Mapping

from transformers import TrainerState

LOSS = "loss"


def epoch_name(epoch: Mapping[str, float]) -> str:
    """Return what the metrics of a run's epoch are called."""
    return "average" if epoch.get("averaged") else f"epoch {epoch['epoch']:g}"


def rank(epoch: Mapping[str, float], primary: str) -> tuple[float, float]:
    """Return what epochs and models are ordered by: the primary metric, then the smaller loss; NaN comes last."""
    value, loss = epoch[primary], epoch[LOSS]
    return (-math.inf if math.isnan(value) else value, -math.inf if math.isnan(loss) else -loss)


def evaluated(state: TrainerState) -> bool:
    """Whether the last step was evaluated."""
    return any("eval_loss" in entry and entry["step"] == state.global_step for entry in state.log_history)


def evaluations(state: TrainerState) -> list[dict[str, float]]:
    """Return the metrics of every evaluation so far, those before an interruption among them."""
    return [
        {
            name.removeprefix("eval_"): value
            for name, value in entry.items()
            if name == "epoch" or name.startswith("eval_")
        }
        for entry in state.log_history
        if "eval_loss" in entry
    ]
