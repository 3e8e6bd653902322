"""Question answering as the rest of the training knows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from trident_client import contract
from typer import Option

from trident_training.finetune.lesson import LogitsLesson
from trident_training.tasks.base import BUNDLED, Data, Exported, Predictor, Task

if TYPE_CHECKING:
    from datasets import Dataset
    from trident_client import TridentClient

    from trident_training.export.heads import Head
    from trident_training.finetune.run import Prepared
    from trident_training.finetune.settings import Settings
    from trident_training.models import Recipe
    from trident_training.tasks.qa.data import QuestionData

SOURCE = "squad"
CALIBRATION = "calibration.json"
#: The tokenizer's limit of tokens in all windows of a passage: of an encoder of 6 layers of 384, and of any at least,
#: which is more than 100,000 characters of English.
MOST_WINDOW_TOKENS = "most_window_tokens"
LIMIT, LIMITED, LEAST_LIMIT = 1 << 18, 6 * 384, 1 << 16
DocStride = Annotated[int, Option(min=1, help="Tokens that neighbouring windows share.")]
DOC_STRIDE = 96
Metric = Annotated[Literal["squad", "korquad"], Option(help="Whose normalisation, exact match and F1.")]


@dataclass(frozen=True)
class QuestionOptions(Data):
    """Which questions are learned from."""

    data: Annotated[list[str], Option(help="JSON, JSON lines, Parquet, folder, or hub name; repeatable.")] = field(
        default_factory=lambda: [SOURCE]
    )
    unambiguous: Annotated[bool, Option(help="Leave out answers whose text stands more than once.")] = False
    questions: Annotated[int | None, Option(min=1, help="Learn from so many, drawn from the train set.")] = None
    no_answer: Annotated[
        float,
        Option(
            min=0, max=1, help="Put this share of the questions to passages without their answer, too: it learns no."
        ),
    ] = 0.0
    validation_fraction: Annotated[
        float, Option(min=0, max=0.5, help="Carved off the train set to choose by; 0 chooses by the data's dev set.")
    ] = 0.05


@dataclass(frozen=True)
class QuestionChoices:
    """What decides a fine-tuning beside its settings."""

    doc_stride: DocStride = DOC_STRIDE
    metric: Metric = "squad"


@dataclass(frozen=True)
class QuestionScoring:
    """How a reader answers and is scored."""

    doc_stride: DocStride = DOC_STRIDE
    metric: Metric = "squad"
    no_answer: Annotated[
        float, Option(min=0, max=1, help="Put this share of the questions to passages without their answer, too.")
    ] = 0.0
    strip: Annotated[str, Option(help="Texts no answer begins or ends with, such as '[CLS] [SEP]'.")] = ""
    longest_answer: Annotated[int | None, Option(min=1, help="Characters above which an answer is none.")] = None


@dataclass(frozen=True)
class QuestionOverrides:
    """How a reader's scores are made, in place of what is noted beside its weights."""

    temperature: Annotated[
        float | None, Option(help="Divides the logits; what stands in the checkpoint's folder by default.")
    ] = None
    unanswerable: Annotated[
        bool | None, Option(help="Whether it may answer with none; as the checkpoint's folder says by default.")
    ] = None
    no_answer_threshold: Annotated[
        float | None, Option(help="How much more than the best answer's the logits of none must be; the same.")
    ] = None
    language: Annotated[
        list[str], Option(help="BCP 47 tag of a language that it is for; repeatable.", show_default=False)
    ] = field(default_factory=list)


class QuestionAnswering(Task):
    """Questions with passages, SQuAD's above all, and a reader that finds spans."""

    spec = contract.QA
    model = "a span reader"
    unit = "questions"
    source = SOURCE
    max_length = 256
    columns: ClassVar = {
        "f1": ".2f",
        "exact_match": ".2f",
        "edit_distance": ".2f",
        "calibration_error": ".3f",
        "refused": ".1f",
        "answered": ".1f",
    }
    label_smoothing = False
    presets: ClassVar = {
        "squad-base": ("bert-base-uncased", "distilbert-base-uncased", "roberta-base"),
        "korquad": ("beomi/kcbert-base", "monologg/koelectra-base-v3-discriminator", "klue/bert-base"),
        "qa-bundled": BUNDLED,
    }
    data = QuestionOptions
    choices = QuestionChoices
    lesson = LogitsLesson
    scoring = QuestionScoring
    reading = ("doc_stride",)
    comparison = ("metric", "no_answer")
    overrides = QuestionOverrides
    companions = (CALIBRATION,)

    def load(self, options: QuestionOptions) -> QuestionData:
        """Load and join data sets of questions."""
        from trident_training.tasks.qa.data import load_questions

        return load_questions(
            options.data,
            validation_fraction=options.validation_fraction,
            seed=options.split_seed,
            unambiguous=options.unambiguous,
            most_questions=options.questions,
            no_answer=options.no_answer,
        )

    def rows(self, source: str, validation_fraction: float, split_seed: int, form: Any = None) -> Dataset:
        """Load questions with the answers that are accepted."""
        from trident_training.tasks.qa.data import load_rows

        return load_rows(source, validation_fraction=validation_fraction, seed=split_seed)

    def prepare(self, data: QuestionData, settings: Settings, choices: QuestionChoices) -> Prepared:
        """Load a span reader, and cut the passages into windows."""
        from trident_training.tasks.qa.training import prepare

        return prepare(data, settings, choices.doc_stride, choices.metric)

    def distilled(
        self,
        prepared: Prepared,
        data: QuestionData,
        lesson: LogitsLesson,
        settings: Settings,
        choices: QuestionChoices,
    ) -> Prepared:
        """Have a reader's start and end logits learned."""
        from trident_training.tasks.qa.distillation import distilled

        return distilled(prepared, data, lesson, settings, choices.doc_stride)

    def after(
        self, data: QuestionData, best: Path, max_length: int, scoring: QuestionScoring, choices: Any = None
    ) -> str | None:
        """Calibrate the reader's scores on the validation set."""
        from trident_training.tasks.qa.scoring import write_calibration

        return write_calibration(data, best, max_length, scoring.doc_stride, scoring.metric)

    def scoring_of(self, choices: QuestionChoices) -> QuestionScoring:
        """Return how a reader of such windows is scored, by the metric that it was chosen by."""
        return QuestionScoring(choices.doc_stride, choices.metric)

    def facts(self, choices: QuestionChoices) -> dict[str, Any]:
        """Return the windows' overlap."""
        return {"doc_stride": choices.doc_stride} | ({"metric": choices.metric} if choices.metric != "squad" else {})

    def predictor(self, checkpoint: str, max_length: int, scoring: QuestionScoring) -> Predictor:
        """Return what predicts each question's best answer and its score."""
        from trident_training.tasks.qa.calibration import Calibration
        from trident_training.tasks.qa.scoring import CheckpointReader, ReaderPredictor

        reader = CheckpointReader(checkpoint, max_length, scoring.doc_stride)
        options = {"strip": scoring.strip.split(), "longest_answer": scoring.longest_answer}
        answer = reader.answerer(Calibration.read(Path(checkpoint)), **options)
        return ReaderPredictor(answer, model=reader.model, tokenizer=reader.tokenizer, reader=reader)

    def query(self, client: TridentClient, model: str, rows: Dataset) -> Any:
        """Ask for each question's best answer."""
        questions = [(row["question"], row["context"]) for row in rows]
        return [(spans[0].answer, spans[0].score) for spans in client.answer_many(questions, model=model)]

    def exported(self, export: Exported) -> Predictor:
        """Return what predicts each question's best answer with the export, and the calibration beside it."""
        from trident_training.tasks.qa.scoring import exported_answerer

        return Predictor(exported_answerer(export))

    def score(self, predictor: Predictor, rows: Dataset, scoring: QuestionScoring) -> dict[str, Any]:
        """Return exact match and F1 in percent, the edit distance, and how far the scores are from being right."""
        from trident_training.tasks.qa.scoring import evaluate_answers
        from trident_training.tasks.qa.unanswerable import without_answer

        questions = list(rows)
        questions += without_answer(questions, scoring.no_answer)
        return evaluate_answers(predictor.predict, questions, scoring.metric)

    def validate(self, predictor: Predictor, data: QuestionData) -> dict[str, Any]:
        """Return exact match and F1 before any calibration."""
        from trident_training.tasks.qa.scoring import plain_scores

        return plain_scores(predictor, data)

    def limits(self, layers: int, width: int) -> Mapping[str, str]:
        """Return how many tokens a passage's windows may have: fewer where each is more work, to be read in time."""
        return {MOST_WINDOW_TOKENS: str(max(LEAST_LIMIT, min(LIMIT, LIMIT * LIMITED // (layers * width))))}

    def head(self, recipe: Recipe) -> Head:
        """Return start and end logits."""
        from trident_training.tasks.qa.head import head

        return head(recipe)

    def files(self, weights: Path, overrides: QuestionOverrides) -> dict[str, str]:
        """Return the calibration beside the weights, with what was given in its place."""
        from trident_training.tasks.qa.calibration import Calibration

        given = {
            "temperature": overrides.temperature,
            "may_be_unanswerable": overrides.unanswerable,
            "no_answer_threshold": overrides.no_answer_threshold,
        }
        chosen = {name: value for name, value in given.items() if value is not None}
        calibration: Calibration = replace(Calibration.read(weights), **chosen)  # type: ignore[arg-type]
        return {CALIBRATION: calibration.to_json()}

    def overridden_metadata(self, overrides: QuestionOverrides) -> dict[str, Any]:
        """Return the languages that were given."""
        return {"languages": ",".join(overrides.language)} if overrides.language else {}


TASK = QuestionAnswering()
