"""A task that puts a text under one of two labels, by a sequence classifier; the probability of label 1 is served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from typer import Option

from trident_training.data.form import Delimiter, LabelColumn, LabelledForm, TextColumn
from trident_training.finetune.lesson import LogitsLesson
from trident_training.tasks.base import Data, Exported, Predictor, Task

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from datasets import Dataset
    from trident_client import TridentClient

    from trident_training.classification.data import LabelledData
    from trident_training.export.heads import Head
    from trident_training.finetune.run import Prepared
    from trident_training.finetune.settings import Settings
    from trident_training.metrics.base import TridentMetric
    from trident_training.models import Recipe

ACCEPTED = "Folder with train.* and dev.*, file (.tsv, .csv, .jsonl, .parquet), or hub name."


@dataclass(frozen=True)
class LabelledOptions(Data):
    """Which labelled sentences are learned from."""

    data: Annotated[str, Option(help=ACCEPTED)] = ""
    text_column: TextColumn = None
    label_column: LabelColumn = None
    label_map: Annotated[str, Option(help="Words for the labels, such as good=1,bad=0.")] = ""
    delimiter: Delimiter = None

    def __post_init__(self) -> None:
        # Refuses what is no form.
        self.form()

    def form(self) -> LabelledForm:
        """Return how the data is written.

        Raises:
            ValueError: a word has no label.
        """
        words = [word.rpartition("=") for word in self.label_map.split(",") if word.strip()]
        wrong = next(("".join(word) for word in words if word[2].strip() not in {"0", "1"} or not word[0]), None)
        if wrong is not None:
            raise ValueError(f"'{wrong}' of the label map gives no word a label; WORD=0 and WORD=1 are accepted")
        names = {"sentence": self.text_column, "label": self.label_column}
        return LabelledForm(
            {name: theirs for name, theirs in names.items() if theirs is not None},
            self.delimiter,
            labels={word.strip().casefold(): int(label) for word, _, label in words},
        )


class Classification(Task):
    """Sentences with labels, 0 and 1, and a sequence classifier.

    A task of this kind names itself, its row of the contract, whose only input is the text, and its labels.

    Attributes:
        labels: what 0 and 1 mean; none where labels are the words that the data has.
    """

    labels: ClassVar[Mapping[int, str]]
    model = "a classifier of sentences"
    unit = "sentences"
    columns: ClassVar = {"accuracy": ".4f", "f1": ".4f"}
    data: ClassVar[type[Data]] = LabelledOptions
    form: ClassVar[Sequence[str]] = ("text_column", "label_column", "label_map", "delimiter")
    lesson = LogitsLesson

    @property
    def share(self) -> str:
        """What the share of sentences that are put under label 1 is called."""
        return f"share_{self.labels[1]}"

    def load(self, options: LabelledOptions) -> LabelledData:
        """Load sentences with their labels."""
        from trident_training.classification.data import load_labelled

        return load_labelled(
            options.data,
            self.labels or None,
            validation_fraction=options.validation_fraction,
            seed=options.split_seed,
            form=options.form(),
        )

    def rows(self, source: str, validation_fraction: float, split_seed: int, form: Any = None) -> Dataset:
        """Load sentences with their labels and sources."""
        from trident_training.classification.data import load_rows

        options: Any = form or self.data()
        return load_rows(
            source, self.labels or None, validation_fraction=validation_fraction, seed=split_seed, form=options.form()
        )

    def prepare(self, data: LabelledData, settings: Settings, choices: Any) -> Prepared:
        """Load a sequence classifier, and tokenize the sentences."""
        from trident_training.classification.training import prepare

        return prepare(self, data, settings)

    def check(self, data: LabelledData) -> None:
        """Refuse data of which nothing can be learned.

        Raises:
            DataError: a split has one label alone.
        """
        from trident_training.classification.training import check_labels

        check_labels(self, data, "train", "validation")

    def outputs(self, data: LabelledData) -> Mapping[int, str]:
        """Return the labels that the network answers with, by index."""
        return self.labels

    def independent(self, data: LabelledData) -> bool:
        """Say whether each label is learned by itself; a text has exactly one of them otherwise."""
        return False

    def target(self, label: Any, data: LabelledData) -> Any:
        """Return a row's label as the loss takes it."""
        return label

    def measured(self, logits: npt.NDArray[Any], rows: Dataset, data: LabelledData) -> dict[str, float]:
        """Return the metrics of a network's logits on rows, by which its best epoch is found."""
        return self.decided(logits.argmax(axis=1), rows["label"])

    def distilled(
        self, prepared: Prepared, data: LabelledData, lesson: LogitsLesson, settings: Settings, choices: Any
    ) -> Prepared:
        """Have a classifier's logits learned."""
        from trident_training.classification.distillation import distilled

        return distilled(self, prepared, data, lesson, settings)

    def predictor(self, checkpoint: str, max_length: int, scoring: Any) -> Predictor:
        """Return what predicts the probability of label 1, float ``[n]``."""
        from trident_training.checkpoints.loading import load_classifier, load_tokenizer
        from trident_training.classification.scoring import predict

        model = load_classifier(checkpoint, self.labels, max_length, fine_tuned=True).eval()
        tokenizer = load_tokenizer(checkpoint)
        return Predictor(
            lambda rows: predict(model, tokenizer, rows["sentence"], max_length), model=model, tokenizer=tokenizer
        )

    def query(self, client: TridentClient, model: str, rows: Dataset) -> Any:
        """Ask for the sentences' probabilities."""
        answers = client.predict(self.spec.main.name, rows["sentence"], model=model)
        # Of one field each.
        return [next(iter(answer.values())) for answer in answers]

    def exported(self, export: Exported) -> Predictor:
        """Return what predicts the probability of label 1 with the export."""
        from trident_training.classification.scoring import predict_exported

        return Predictor(lambda rows: predict_exported(export, rows["sentence"])[:, 0])

    def score(self, predictor: Predictor, rows: Dataset, scoring: Any) -> dict[str, Any]:
        """Return the metrics of the predicted labels."""
        return self.decided(self.decide(predictor, rows), rows["label"])

    def decide(self, predictor: Predictor, rows: Dataset) -> npt.NDArray[np.int64]:
        """Return the labels of sentences, ``[n]``: 1 where its probability is above a half, where both are equal."""
        import numpy as np

        return (np.asarray(predictor.predict(rows)) > 0.5).astype(np.int64)

    def metrics(self) -> Sequence[TridentMetric]:
        """Return the metrics of decisions, :attr:`primary`'s among them."""
        from trident_training.metrics.decisions import F1, Accuracy

        return Accuracy(), F1()

    def decided(self, predictions: npt.NDArray[np.int64], references: npt.ArrayLike) -> dict[str, float]:
        """Return the metrics of labels, 0 or 1, ``[n]`` each, and the share of label 1 among the predictions."""
        result: dict[str, float] = {}
        for metric in self.metrics():
            result |= metric.compute(predictions=predictions, references=references)
        return result | {self.share: float(predictions.mean())}

    def collapsed(self, epoch: Mapping[str, float]) -> str | None:
        """Say of an epoch's metrics why they show a collapsed model; None when they do not."""
        if epoch[self.share] in {0.0, 1.0}:
            return f"every sentence is called {self.labels[int(epoch[self.share])]}"
        return None

    def head(self, recipe: Recipe) -> Head:
        """Return the probability of label 1."""
        from trident_training.classification.head import head

        return head(recipe)
