"""What turns a span reader's logits into probabilities that can be believed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from trident_training.checkpoints.errors import CheckpointError
from trident_training.checkpoints.notes import read_object

FILE = "calibration.json"
#: Between these the best temperature is looked for.
LOWEST, HIGHEST = 0.2, 5.0
BINS = 10
#: Length penalties that are tried.
PENALTIES = (0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2)


@dataclass(frozen=True)
class Calibration:
    """How a reader's logits become scores.

    Attributes:
        temperature: what the logits are divided by.
        length_penalty: what each token of an answer but its first takes off the logits.
        may_be_unanswerable: whether it was trained with questions that have no answer, and may answer with none.
        no_answer_threshold: how much more than the best answer's the logits of none must be for that.
    """

    temperature: float = 1.0
    length_penalty: float = 0.0
    may_be_unanswerable: bool = False
    no_answer_threshold: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.may_be_unanswerable, bool):
            raise ValueError(f"may_be_unanswerable is {self.may_be_unanswerable!r}; true and false are accepted")
        if not (self.temperature > 0 and math.isfinite(self.temperature)):
            raise ValueError(f"temperature is {self.temperature}; a number above 0 is accepted")
        if not (self.length_penalty >= 0 and math.isfinite(self.length_penalty)):
            raise ValueError(f"length_penalty is {self.length_penalty}; a number of 0 or more is accepted")
        if not math.isfinite(self.no_answer_threshold):
            raise ValueError(f"no_answer_threshold is {self.no_answer_threshold}; a finite number is accepted")

    @classmethod
    def read(cls, folder: Path) -> Calibration:
        """Read what stands beside a checkpoint's weights; logits are taken as they are where nothing does.

        Raises:
            ValueError: something else stands there.
        """
        file = folder / FILE
        if not file.is_file():
            return cls()
        try:
            return cls(**read_object(file))
        except CheckpointError:
            raise
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{file} is no calibration: {error}") from error

    def to_json(self) -> str:
        """Return the file's content."""
        return json.dumps(asdict(self), indent=2) + "\n"


def fit_temperature(scores: Callable[[float], Sequence[float]], right: Sequence[bool]) -> float:
    """Return the temperature at which the best answers' scores fit best how often they are right.

    That is where the log loss of "this answer is right" is least. Source: Guo et al., On Calibration of Modern Neural
    Networks (2017), section 4.2.

    Args:
        scores: of every question's best answer at a temperature, 0 to 1.
        right: whether each of them is right, at any temperature.
    """
    from scipy.optimize import minimize_scalar

    truth = np.asarray(right)

    def loss(exponent: float) -> float:
        chances = np.clip(scores(math.exp(exponent)), 1e-6, 1 - 1e-6)
        return float(-np.mean(np.where(truth, np.log(chances), np.log1p(-chances))))

    found = minimize_scalar(
        loss, bounds=(math.log(LOWEST), math.log(HIGHEST)), method="bounded", options={"maxiter": 20, "xatol": 0.01}
    )
    return math.exp(found.x)


def fit_threshold(margins: Sequence[float], answered: Sequence[float], declined: Sequence[float]) -> float:
    """Return the threshold of no answer with which questions are answered best.

    Source: SQuAD 2.0's evaluation script (2018), ``find_best_thresh``.

    Args:
        margins: by how much the logits of no answer are more than the best answer's, of each question.
        answered: what its best answer scores.
        declined: what no answer scores there.
    """
    # What cannot be answered at all says nothing of a threshold.
    order = [place for place in np.argsort(margins, kind="stable") if np.isfinite(margins[place])]
    if not order:
        return 0.0
    margin, gain = np.asarray(margins)[order], (np.asarray(answered) - np.asarray(declined))[order]
    # Of all thresholds, those between two margins, and one at each end: how much is won by answering what lies below.
    won = np.concatenate([[0.0], np.cumsum(gain)])
    borders = np.concatenate([[margin[0] - 1], (margin[:-1] + margin[1:]) / 2, [margin[-1] + 1]])
    # Equal margins are not parted.
    possible = np.concatenate([[True], margin[1:] > margin[:-1], [True]])
    return float(borders[np.where(possible, won, -np.inf).argmax()])


def calibration_error(scores: Sequence[float], right: Sequence[bool]) -> float:
    """Return the expected calibration error: how far scores and shares of right answers lie apart, 0 to 1.

    Source: Guo et al. (2017), equation 3, with ten bins of equal width.
    """
    chances, truth = np.asarray(scores), np.asarray(right, dtype=float)
    bins = np.minimum((chances * BINS).astype(int), BINS - 1)
    gaps = [abs(chances[bins == each].sum() - truth[bins == each].sum()) for each in range(BINS)]
    return float(sum(gaps) / len(chances))
