"""Reranking as the rest of the training knows it: a classifier of pairs, by whether a text belongs to a query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from trident_client import contract
from typer import Option

from trident_training.classification.task import Classification, LabelledOptions
from trident_training.data.form import LabelledForm
from trident_training.tasks.base import BUNDLED, Exported, Predictor

if TYPE_CHECKING:
    import numpy.typing as npt
    from datasets import Dataset
    from trident_client import TridentClient

    from trident_training.classification.data import LabelledData
    from trident_training.export.heads import Head
    from trident_training.models import Recipe

#: A score below this is one for all pairs.
ALIKE = 1e-4


@dataclass(frozen=True)
class QueryOptions(LabelledOptions):
    """Which queries and texts are learned from."""

    query_column: Annotated[str, Option(help="What the data's column of queries is called.")] = "query"
    text_column: Annotated[str | None, Option(help="What that of texts is called.")] = "text"

    def form(self) -> LabelledForm:
        """Return how the data is written; errors are those of other labels."""
        form = super().form()
        names = dict(form.names)
        return replace(
            form,
            names=names | {"sentence": self.query_column, "text_pair": names.get("sentence", "text")},
            columns=("sentence", "text_pair", "label"),
            options=("--query-column", *form.options),
        )


class Rerank(Classification):
    """Queries with texts, of which some belong to them (1) and some do not (0), and a cross-encoder.

    Source: Nogueira and Cho, Passage Re-ranking with BERT (2019).
    """

    spec = contract.RERANK
    model = "a cross-encoder"
    unit = "pairs"
    labels: ClassVar = {0: "irrelevant", 1: "relevant"}
    columns: ClassVar = {"mean_reciprocal_rank": ".4f", "average_precision": ".4f"}
    label_smoothing = False
    presets: ClassVar = {"rerank-bundled": BUNDLED}
    data = QueryOptions
    form = ("query_column", "text_column", "label_column", "label_map", "delimiter")

    def check(self, data: LabelledData) -> None:
        """Refuse data of which nothing can be learned, or by which nothing can be chosen.

        Raises:
            DataError: no query that is chosen by has texts of both kinds, or those to learn from are of one kind.
        """
        import numpy as np

        super().check(data)
        validation = data.splits["validation"]
        self.measured(np.zeros((len(validation), 1)), validation, data)

    def outputs(self, data: LabelledData) -> Mapping[int, str]:
        """Return the one label that a pair may have."""
        return {0: self.labels[1]}

    def independent(self, data: LabelledData) -> bool:
        """Say that there is no other label."""
        return True

    def target(self, label: int, data: LabelledData) -> list[float]:
        """Return 1 where the text belongs to the query, else 0."""
        return [float(label)]

    def measured(self, logits: npt.NDArray[Any], rows: Dataset, data: LabelledData) -> dict[str, float]:
        """Return the metrics of the order that logits make."""
        from trident_training.tasks.rerank.metrics import ranking_metrics

        return ranking_metrics(rows["sentence"], rows["label"], logits[:, 0])

    def collapsed(self, epoch: Mapping[str, float]) -> str | None:
        """Say of an epoch's metrics why they show a collapsed model; None when they do not."""
        return "every pair has the same score" if epoch["deviation"] < ALIKE else None

    def predictor(self, checkpoint: str, max_length: int, scoring: Any) -> Predictor:
        """Return what gives scores, 0 to 1, float ``[n]``."""
        from trident_training.checkpoints.loading import load_classifier, load_tokenizer
        from trident_training.classification.data import texts_of
        from trident_training.classification.scoring import logits_of, scores_of

        model = load_classifier(checkpoint, {0: self.labels[1]}, max_length, fine_tuned=True, several=True).eval()
        tokenizer = load_tokenizer(checkpoint)

        def predict(rows: Dataset) -> npt.NDArray[Any]:
            return scores_of(logits_of(model, tokenizer, texts_of(rows), max_length), model.config)[:, 0]

        return Predictor(predict, model=model, tokenizer=tokenizer)

    def query(self, client: TridentClient, model: str, rows: Dataset) -> Any:
        """Ask for the pairs' scores."""
        from trident_training.classification.data import texts_of

        return [each["scores"] for each in client.predict(self.name, texts_of(rows), model=model)]

    def exported(self, export: Exported) -> Predictor:
        """Return what gives scores with the export."""
        from trident_training.classification.data import texts_of
        from trident_training.classification.scoring import predict_exported

        return Predictor(lambda rows: predict_exported(export, texts_of(rows))[:, 0])

    def score(self, predictor: Predictor, rows: Dataset, scoring: Any) -> dict[str, Any]:
        """Return the metrics of the order that scores make."""
        from trident_training.tasks.rerank.metrics import ranking_metrics

        return ranking_metrics(rows["sentence"], rows["label"], predictor.predict(rows))

    def head(self, recipe: Recipe) -> Head:
        """Return the score of a pair.

        Raises:
            ValueError: the model has other labels.
        """
        from trident_training.classification.head import scores

        head = scores(recipe, texts=(2,))
        if head.width != 1:
            raise ValueError(f"{recipe.title} has {head.width} labels; a cross-encoder of one is accepted")
        return head


TASK = Rerank()
