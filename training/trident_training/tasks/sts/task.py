"""Similarity as the rest of the training knows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from trident_client import contract
from typer import BadParameter, Option

from trident_training.checkpoints.cleaning import Cleaning
from trident_training.checkpoints.pooling import Pooling
from trident_training.checkpoints.prompts import Prompts, of_parameters, prompts_of
from trident_training.data.form import Delimiter, Form, LabelColumn, TextColumns
from trident_training.finetune.lesson import Lesson
from trident_training.tasks.base import BUNDLED, Data, Exported, Predictor, Task
from trident_training.tasks.sts.choices import HEADS, Kind, PairSettings

if TYPE_CHECKING:
    from datasets import Dataset
    from trident_client import TridentClient

    from trident_training.export.heads import Head
    from trident_training.finetune.run import Prepared
    from trident_training.finetune.settings import Settings
    from trident_training.models import Recipe
    from trident_training.tasks.sts.data import SimilarityData

SOURCE = "nyu-mll/glue:stsb"
Metric = Annotated[Literal["spearman", "pearson", "f1"], Option(help="Chooses the best epoch.")]
Clean = Annotated[Cleaning, Option(help="Done to texts, here and when served.")]
Languages = Annotated[list[str], Option(help="BCP 47 tag of the data's language; repeatable.", show_default=False)]


@dataclass(frozen=True)
class SimilarityOptions(Data):
    """Which pairs are learned from."""

    data: Annotated[list[str], Option(help="STS-B, KLUE-STS or KorSTS: file, folder or hub name; repeatable.")] = field(
        default_factory=lambda: [SOURCE]
    )
    text_column: TextColumns = field(default_factory=list)
    label_column: LabelColumn = None
    delimiter: Delimiter = None
    scale: Annotated[
        list[float],
        Option(min=0.001, help="The greatest score, 5 by default; of each --data where given more than once."),
    ] = field(default_factory=list)

    def __post_init__(self) -> None:
        # Refuses what is no form.
        self.form()
        if len(self.scale) > 1 and len(self.scale) != len(self.data):
            raise ValueError(f"{len(self.scale)} scales for {len(self.data)} sources; one is accepted, or one for each")

    def form(self) -> Form:
        """Return how the data is written.

        Raises:
            ValueError: one column of sentences alone is named.
        """
        if len(self.text_column) not in {0, 2}:
            raise ValueError("a pair has two columns of sentences; give --text-column twice")
        names = dict(zip(("sentence_1", "sentence_2"), self.text_column, strict=False))
        names |= {"score": self.label_column} if self.label_column else {}
        return Form(names, self.delimiter, options=("--text-column", "--label-column"))


@dataclass(frozen=True)
class SimilarityChoices:
    """What decides a fine-tuning beside its settings.

    Raises:
        SettingsError: choices that do not go together.
    """

    kind: Annotated[Kind, Option(help="How two sentences are compared; the bi-encoder is served.")] = Kind.BI_ENCODER
    pooling: Annotated[Pooling | None, Option(help="Of a bi-encoder; the checkpoint's own by default.")] = None
    loss: Annotated[Literal["mse", "cosent"], Option(help="cosent is of a bi-encoder.")] = "mse"
    metric: Metric = "spearman"
    clean: Clean = Cleaning.NONE
    language: Languages = field(default_factory=list)

    def __post_init__(self) -> None:
        # Refuses what does not go together.
        self.pairs()

    def pairs(self) -> PairSettings:
        """Return the choices without the languages, which decide nothing."""
        return PairSettings(self.kind, self.pooling, self.loss, self.metric, self.clean)


@dataclass(frozen=True)
class SimilarityCandidates:
    """What a sweep compares beside models."""

    heads: Annotated[str, Option(help=f"With commas between, or all: {', '.join(HEADS)}.")] = "mean"
    metric: Metric = "spearman"
    clean: Clean = Cleaning.NONE
    language: Languages = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class SimilarityLesson(Lesson):
    """Who teaches, and translations that the teacher reads in its own language.

    Raises:
        ValueError: an original without a translation, or the other way round.
    """

    original: Annotated[
        str | None, Option(help="Pairs in the teacher's language, such as STS-B: it reads these and not --data.")
    ] = None
    translation: Annotated[str | None, Option(help="The same rows in the student's language, such as KorSTS.")] = None

    def __post_init__(self) -> None:
        if (self.original is None) != (self.translation is None):
            raise ValueError("--original and --translation are two sides of the same rows; give both")


@dataclass(frozen=True)
class SimilarityScoring:
    """How a model is scored."""

    threshold: Annotated[float | None, Option(help="The model's own by default, else the best on these pairs.")] = None


@dataclass(frozen=True)
class SimilarityOverrides:
    """What the server says of a model in place of what its card says."""

    threshold: Annotated[
        float | None, Option(min=-1, max=1, help="Cosine from which sentences are similar; the card's by default.")
    ] = None
    language: Annotated[
        list[str], Option(help="BCP 47 tag; repeatable; the card's by default.", show_default=False)
    ] = field(default_factory=list)


class Similarity(Task):
    """Sentence pairs with their similarity, STS-B's, KLUE-STS's and KorSTS's, and models in four kinds."""

    spec = contract.STS
    model = "a model of sentence similarity"
    unit = "pairs"
    source = SOURCE
    columns: ClassVar = dict.fromkeys(("spearman", "pearson", "f1", "accuracy", "threshold"), ".4f")
    label_smoothing = False
    reported = ("validation", "test")
    presets: ClassVar = {
        "klue-sts": ("klue/bert-base", "snunlp/KR-BERT-char16424", "klue/roberta-base"),
        "sts-bundled": BUNDLED,
    }
    data = SimilarityOptions
    form = ("text_column", "label_column", "delimiter", "scale")
    choices = SimilarityChoices
    candidates = SimilarityCandidates
    lesson = SimilarityLesson
    scoring = SimilarityScoring
    overrides = SimilarityOverrides
    companions = ("similarity.json",)

    def load(self, options: SimilarityOptions) -> SimilarityData:
        """Load and join data sets of pairs."""
        from trident_training.tasks.sts.data import load_pairs

        return load_pairs(
            options.data,
            validation_fraction=options.validation_fraction,
            seed=options.split_seed,
            form=options.form(),
            scales=options.scale,
        )

    def rows(self, source: str, validation_fraction: float, split_seed: int, form: Any = None) -> Dataset:
        """Load pairs with their gold similarity."""
        from trident_training.tasks.sts.data import load_rows

        options: SimilarityOptions = form or SimilarityOptions()
        return load_rows(
            source,
            validation_fraction=validation_fraction,
            seed=split_seed,
            form=options.form(),
            scale=options.scale[0] if options.scale else None,
        )

    def prepare(self, data: SimilarityData, settings: Settings, choices: SimilarityChoices) -> Prepared:
        """Load a model of the chosen kind, and tokenize the pairs."""
        from trident_training.tasks.sts.training import prepare

        return prepare(data, settings, choices.pairs())

    def distilled(
        self,
        prepared: Prepared,
        data: SimilarityData,
        lesson: SimilarityLesson,
        settings: Settings,
        choices: SimilarityChoices,
    ) -> Prepared:
        """Have a sentence encoder's embeddings learned."""
        from trident_training.tasks.sts.distillation import distilled

        return distilled(prepared, data, lesson, settings)

    def after(
        self,
        data: SimilarityData,
        best: Path,
        max_length: int,
        scoring: Any,
        choices: SimilarityChoices | None = None,
    ) -> str | None:
        """Find the threshold on the validation set, and write card and picture."""
        from trident_training.tasks.sts.scoring import write_card

        kind, languages = (choices.kind, choices.language) if choices else (None, None)
        write_card(data, best, max_length, kind, languages)
        return None

    def expand(self, candidates: SimilarityCandidates) -> dict[str, SimilarityChoices]:
        """Return the heads by name; those of bi-encoders are named by their pooling."""
        named = list(HEADS) if candidates.heads == "all" else [name.strip() for name in candidates.heads.split(",")]
        unknown = [name for name in named if name not in HEADS]
        if unknown:
            raise BadParameter(f"there is no head '{unknown[0]}'; {', '.join(HEADS)} and all are accepted")
        return {
            name: SimilarityChoices(
                HEADS[name].kind,
                HEADS[name].pooling,
                HEADS[name].loss,
                candidates.metric,
                candidates.clean,
                candidates.language,
            )
            for name in named
        }

    def facts(self, choices: SimilarityChoices) -> dict[str, Any]:
        """Return all choices that decide a result."""
        return {"choices": repr(choices.pairs())}

    def predictor(self, checkpoint: str, max_length: int, scoring: Any) -> Predictor:
        """Return what predicts similarities, float ``[n]``."""
        from trident_training.tasks.sts.scoring import checkpoint_predictor

        return checkpoint_predictor(checkpoint, max_length)

    def query(self, client: TridentClient, model: str, rows: Dataset) -> Any:
        """Ask for the pairs' cosines."""
        return client.similarity(zip(rows["sentence_1"], rows["sentence_2"], strict=True), model=model)

    def exported(self, export: Exported) -> Predictor:
        """Return what predicts cosines with the export."""
        from trident_training.tasks.sts.scoring import exported_comparer

        prompt = of_parameters(export.parameters).text
        return Predictor(exported_comparer(export.module, export.tokenizer, export.max_tokens, prompt))

    def score(self, predictor: Predictor, rows: Dataset, scoring: SimilarityScoring) -> dict[str, Any]:
        """Return correlations, and F1 and accuracy at the threshold: the given one, the model's, or the best one."""
        from trident_training.tasks.sts.training import score

        threshold = predictor.threshold if scoring.threshold is None else scoring.threshold
        return score(predictor.predict(rows), rows, threshold)

    def baselines(self, rows: Dataset) -> dict[str, dict[str, Any]]:
        """Return what the overlap of characters scores, which knows no word."""
        from trident_training.tasks.sts.scoring import evaluate_similarity, overlap

        return {"overlap of characters": evaluate_similarity(overlap, rows, None)}

    def remark(self, predictor: Predictor, scoring: SimilarityScoring) -> str | None:
        """Say where the threshold is from, where no one gave it."""
        if predictor.threshold is None and scoring.threshold is None:
            return "The thresholds are the best ones on these very pairs."
        return None

    def validate(self, predictor: Predictor, data: SimilarityData) -> dict[str, Any]:
        """Return correlations, and F1 and accuracy at the best threshold."""
        return self.score(replace(predictor, threshold=None), data.splits["validation"], self.scoring())

    def head(self, recipe: Recipe) -> Head:
        """Return pooling, unit norm and cosine."""
        from trident_training.tasks.sts.head import head

        return head(recipe)

    def metadata(self, weights: Path) -> dict[str, Any]:
        """Return what the card beside the weights says."""
        from trident_training.tasks.sts.card import SimilarityCard

        card = SimilarityCard.read(weights)
        return {"languages": card.languages, "threshold": card.threshold, "metrics": card.metrics}

    def overridden_metadata(self, overrides: SimilarityOverrides) -> dict[str, Any]:
        """Return the threshold and the languages that were given."""
        given = {"threshold": overrides.threshold, "languages": ",".join(overrides.language) or None}
        return {name: value for name, value in given.items() if value is not None}

    def prompts(self, weights: str) -> Prompts:
        """Return the checkpoint's own; one that was fine-tuned here has none."""
        return prompts_of(weights)

    def commands(self) -> Mapping[str, Callable[..., None]]:
        """Return the commands that bring an encoder another language."""
        from trident_training.tasks.sts.commands import contrast, vocabulary

        return {"vocabulary": vocabulary, "contrast": contrast}


TASK = Similarity()
