"""Acceptability as the rest of the training knows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from trident_client import contract
from typer import Option

from trident_training.classification.task import ACCEPTED, Classification, LabelledOptions
from trident_training.tasks.base import BUNDLED, Predictor

if TYPE_CHECKING:
    from datasets import Dataset

    from trident_training.metrics.base import TridentMetric

SOURCE = "nyu-mll/glue:cola"


@dataclass(frozen=True)
class AcceptabilityOptions(LabelledOptions):
    """Which judgements are learned from."""

    data: Annotated[str, Option(help=ACCEPTED)] = SOURCE


class Acceptability(Classification):
    """Sentences with labels, CoLA's above all.

    Source: Warstadt, Singh and Bowman, Neural Network Acceptability Judgments (TACL 2019).
    """

    spec = contract.COLA
    model = "a classifier of acceptability"
    source = SOURCE
    labels: ClassVar = {0: "unacceptable", 1: "acceptable"}
    columns: ClassVar = {"matthews_correlation": ".4f", "accuracy": ".4f", "f1": ".4f", "share_acceptable": ".1%"}
    presets: ClassVar = {
        "cola-base": (
            "bert-base-uncased",
            "distilbert-base-uncased",
            "distilroberta-base",
            "roberta-base",
            "albert-base-v2",
        ),
        "cola-bundled": BUNDLED,
    }
    data = AcceptabilityOptions

    def metrics(self) -> Sequence[TridentMetric]:
        """Return CoLA's metrics."""
        from trident_training.tasks.cola.metrics import MatthewsCorrelation

        return MatthewsCorrelation(), *super().metrics()

    def score(self, predictor: Predictor, rows: Dataset, scoring: Any) -> dict[str, Any]:
        """Return CoLA's metrics, and under ``by_source`` those of each source where the rows name theirs."""
        from trident_training.tasks.cola.metrics import BySource

        predictions = self.decide(predictor, rows)
        metrics: dict[str, Any] = self.decided(predictions, rows["label"])
        if any(rows["source"]):
            metrics |= BySource().compute(predictions=predictions, references=rows["label"], sources=rows["source"])
        return metrics

    def collapsed(self, epoch: Mapping[str, float]) -> str | None:
        """Say why an epoch's metrics show a collapsed model; also where its predictions tell nothing."""
        found = super().collapsed(epoch)
        if found is None and epoch[self.primary] == 0:
            return "its predictions do not depend on the labels"
        return found

    def commands(self) -> Mapping[str, Callable[..., None]]:
        """Return the command that trains on made sentences."""
        from trident_training.tasks.cola.commands import intermediate

        return {"intermediate": intermediate}


TASK = Acceptability()
