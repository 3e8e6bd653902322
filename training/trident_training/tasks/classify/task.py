"""Classification by labels of one's own, as the rest of the training knows it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

from trident_client import contract
from typer import Option

from trident_training.classification.task import ACCEPTED, Classification
from trident_training.data.form import Delimiter, LabelColumn, LabelledForm
from trident_training.tasks.base import BUNDLED, Data, Exported, Predictor

if TYPE_CHECKING:
    import numpy.typing as npt
    from datasets import Dataset
    from transformers import PreTrainedConfig
    from trident_client import TridentClient

    from trident_training.classification.data import LabelledData
    from trident_training.export.heads import Head
    from trident_training.models import Recipe

#: Score from which a text has a label that it may have beside others.
THRESHOLD = 0.5


@dataclass(frozen=True)
class TextOptions(Data):
    """Which texts are learned from."""

    data: Annotated[str, Option(help=ACCEPTED)] = ""
    text_column: Annotated[str, Option(help="What the data's column of texts is called.")] = "text"
    text_pair_column: Annotated[str, Option(help="What that of second texts is called, where there is one.")] = (
        "text_pair"
    )
    label_column: LabelColumn = None
    label_separator: Annotated[
        str | None, Option(help="What parts the labels of a text that may have several, or none; such as ';'.")
    ] = None
    delimiter: Delimiter = None

    def __post_init__(self) -> None:
        # Refuses what is no form.
        self.form()

    def form(self) -> LabelledForm:
        """Return how the data is written.

        Raises:
            ValueError: the delimiter is none, or the separator is empty.
        """
        if self.label_separator == "":
            raise ValueError("the label separator is empty; what stands between two labels is accepted")
        names = {"sentence": self.text_column, "text_pair": self.text_pair_column, "label": self.label_column}
        return LabelledForm(
            {name: theirs for name, theirs in names.items() if theirs is not None},
            self.delimiter,
            optional=("text_pair",),
            together=("sentence", "text_pair"),
            separator=self.label_separator,
        )


class Scored(NamedTuple):
    """What a model says of some texts.

    Attributes:
        labels: all that it knows.
        scores: of each text for each of them, float ``[n, labels]``.
    """

    labels: Sequence[str]
    scores: npt.NDArray[Any]


class Classify(Classification):
    """Texts, or pairs of them, with words as labels: one each, or any number of them."""

    spec = contract.CLASSIFY
    model = "a classifier of texts"
    unit = "texts"
    columns: ClassVar = {"macro_f1": ".4f", "accuracy": ".4f"}
    presets: ClassVar = {"classify-bundled": BUNDLED}
    data = TextOptions
    form = ("text_column", "text_pair_column", "label_column", "label_separator", "delimiter")
    #: Found in the data.
    labels: ClassVar = {}

    def check(self, data: LabelledData) -> None:
        """Refuse data of which nothing can be learned.

        Raises:
            DataError: there is one label alone, that every text has.
        """
        from trident_training.data.problems import DataError

        if len(data.labels) < 2 and not data.several:
            raise DataError(f"every text has the label {', '.join(data.labels.values())}; two or more are needed")

    def outputs(self, data: LabelledData) -> Mapping[int, str]:
        """Return the data's labels."""
        return data.labels

    def independent(self, data: LabelledData) -> bool:
        """Say whether a text may have several labels."""
        return data.several

    def target(self, label: list[str], data: LabelledData) -> Any:
        """Return the label's index, or 1 for each label that a text has and 0 for the others."""
        has = [float(name in label) for name in data.labels.values()]
        return has if data.several else has.index(1)

    def measured(self, logits: npt.NDArray[Any], rows: Dataset, data: LabelledData) -> dict[str, float]:
        """Return the metrics of the labels that logits decide for."""
        # A score of a half is a logit of 0.
        return _metrics(Scored([*data.labels.values()], logits), rows, 0.0 if data.several else None)

    def collapsed(self, epoch: Mapping[str, float]) -> str | None:
        """Say of an epoch's metrics why they show a collapsed model; None when they do not."""
        return "every text is given the same" if epoch["largest_share"] == 1 else None

    def predictor(self, checkpoint: str, max_length: int, scoring: Any) -> Predictor:
        """Return what gives scores for the labels that the checkpoint's configuration names."""
        from trident_training.checkpoints.loading import load_classifier, load_config, load_tokenizer
        from trident_training.classification.data import texts_of
        from trident_training.classification.scoring import logits_of, scores_of

        config = load_config(checkpoint)
        labels = _labels(config)
        several = config.problem_type == "multi_label_classification"
        model = load_classifier(checkpoint, dict(enumerate(labels)), max_length, fine_tuned=True, several=several)
        model, tokenizer = model.eval(), load_tokenizer(checkpoint)

        def predict(rows: Dataset) -> Scored:
            return Scored(labels, scores_of(logits_of(model, tokenizer, texts_of(rows), max_length), model.config))

        return Predictor(predict, _threshold(config), model=model, tokenizer=tokenizer)

    def query(self, client: TridentClient, model: str, rows: Dataset) -> Scored:
        """Ask for the texts' labels."""
        import numpy as np

        from trident_training.classification.data import texts_of

        found = [dict(each) for each in client.classify(texts_of(rows), model=model)]
        labels = sorted(found[0])
        return Scored(labels, np.array([[each[label] for label in labels] for each in found]))

    def exported(self, export: Exported) -> Predictor:
        """Return what gives scores with the export, for the labels that are told of it."""
        from trident_training.classification.data import texts_of
        from trident_training.classification.scoring import predict_exported

        labels, threshold = json.loads(export.facts["labels"]), export.facts.get("threshold")
        return Predictor(
            lambda rows: Scored(labels, predict_exported(export, texts_of(rows))),
            None if threshold is None else float(threshold),
        )

    def score(self, predictor: Predictor, rows: Dataset, scoring: Any) -> dict[str, Any]:
        """Return the metrics of the labels that scores decide for."""
        return _metrics(predictor.predict(rows), rows, predictor.threshold)

    def head(self, recipe: Recipe) -> Head:
        """Return the scores of all labels."""
        from trident_training.classification.head import scores

        return scores(recipe)

    def metadata(self, weights: Path) -> dict[str, Any]:
        """Return the labels, and a threshold where a text may have several."""
        from trident_training.checkpoints.loading import load_config

        config = load_config(str(weights))
        return {"labels": json.dumps(_labels(config), ensure_ascii=False), "threshold": _threshold(config)}


def _labels(config: PreTrainedConfig) -> list[str]:
    # Of a configuration that was read, the indices are numbers.
    named: Any = config.id2label or {}
    return [named[index] for index in sorted(named)]


def _threshold(config: PreTrainedConfig) -> float | None:
    from trident_training.export.heads import has_exclusive_labels

    return None if has_exclusive_labels(config) else THRESHOLD


def _metrics(scored: Scored, rows: Dataset, threshold: float | None) -> dict[str, float]:
    """Return the metrics of the likeliest label of each text, or of all from a threshold on."""
    from trident_training.tasks.classify.metrics import label_metrics

    labels, scores = scored
    if threshold is None:
        predictions = [{labels[place]} for place in scores.argmax(axis=1)]
    else:
        predictions = [{labels[place] for place in (row >= threshold).nonzero()[0]} for row in scores]
    return label_metrics(predictions, [set(label) for label in rows["label"]])


TASK = Classify()
