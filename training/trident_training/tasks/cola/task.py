"""Acceptability as the rest of the training knows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from trident_client import contract
from typer import Option

from trident_training.tasks.base import BUNDLED, Data, Exported, Predictor, Task

if TYPE_CHECKING:
    from datasets import Dataset
    from trident_client import TridentClient

    from trident_training.export.heads import Head
    from trident_training.finetune.run import Prepared
    from trident_training.finetune.settings import Settings
    from trident_training.models import Recipe
    from trident_training.tasks.cola.data import AcceptabilityData

SOURCE = "nyu-mll/glue:cola"
ACCEPTED = "Folder with train.* and dev.*, file (.tsv, .csv, .jsonl, .parquet), or hub name."


@dataclass(frozen=True)
class AcceptabilityOptions(Data):
    """Which judgements are learned from."""

    data: Annotated[str, Option(help=ACCEPTED)] = SOURCE


class Acceptability(Task):
    """Sentences with labels, CoLA's above all, and a sequence classifier."""

    name = contract.COLA.name
    model = "a classifier of acceptability"
    unit = "sentences"
    source = SOURCE
    source_help = ACCEPTED
    spec = contract.COLA
    primary = contract.COLA.primary
    columns: ClassVar = {"matthews_correlation": ".4f", "accuracy": ".4f", "f1": ".4f", "share_acceptable": ".1%"}
    guarded = True
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

    def load(self, options: AcceptabilityOptions) -> AcceptabilityData:
        """Load CoLA or data in its form."""
        from trident_training.tasks.cola.data import load_cola

        return load_cola(options.data, validation_fraction=options.validation_fraction, seed=options.split_seed)

    def rows(self, source: str, validation_fraction: float, split_seed: int) -> Dataset:
        """Load sentences with their labels and sources."""
        from trident_training.tasks.cola.data import load_rows

        return load_rows(source, validation_fraction=validation_fraction, seed=split_seed)

    def prepare(self, data: AcceptabilityData, settings: Settings, choices: Any) -> Prepared:
        """Load a sequence classifier, and tokenize the sentences."""
        from trident_training.tasks.cola.training import prepare

        return prepare(data, settings)

    def predictor(self, checkpoint: str, max_length: int, scoring: Any) -> Predictor:
        """Return what predicts P(acceptable), float ``[n]``."""
        from trident_training.checkpoints.loading import load_classifier, load_tokenizer
        from trident_training.tasks.cola.scoring import model_judge
        from trident_training.tasks.cola.training import LABELS

        model = load_classifier(checkpoint, LABELS, max_length, fine_tuned=True).eval()
        tokenizer = load_tokenizer(checkpoint)
        judge = model_judge(model, tokenizer, max_length)
        return Predictor(lambda rows: judge(rows["sentence"]), model=model, tokenizer=tokenizer)

    def ask(self, client: TridentClient, model: str, rows: Dataset) -> Any:
        """Ask for the sentences' probabilities."""
        return client.acceptability(rows["sentence"], model=model)

    def exported(self, export: Exported) -> Predictor:
        """Return what predicts P(acceptable) with the export."""
        from trident_training.tasks.cola.scoring import exported_judge

        judge = exported_judge(export.module, export.tokenizer, export.max_tokens)
        return Predictor(lambda rows: judge(rows["sentence"]))

    def score(self, predictor: Predictor, rows: Dataset, scoring: Any) -> dict[str, Any]:
        """Return CoLA's metrics, and under ``by_source`` those of each source where the rows name theirs."""
        from trident_training.tasks.cola.scoring import score_probabilities

        return score_probabilities(predictor.predict(rows), rows)

    def head(self, recipe: Recipe) -> Head:
        """Return the probability of being acceptable."""
        from trident_training.tasks.cola.head import head

        return head(recipe)

    def commands(self) -> Mapping[str, Callable[..., None]]:
        """Return the command that trains on made sentences."""
        from trident_training.tasks.cola.commands import intermediate

        return {"intermediate": intermediate}


TASK = Acceptability()
