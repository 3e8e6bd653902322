"""What one fine-tuning is made with: the options of the command line, written beside its results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from typer import Option

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

FILE = "settings.json"
WRITTEN_BY = "What a fine-tuning writes beside its best model is accepted."
REMOVE_IT = "Remove it, or choose another output folder."
#: What an adapter that is trained on has decided.
OF_AN_ADAPTER = ("lora_alpha", "lora_targets", "rslora")
#: Settings that mean nothing without LoRA.
LORA = (*OF_AN_ADAPTER, "lora_dropout")


class SettingsError(ValueError):
    """Settings that cannot be run; the text says which and what is accepted."""


@dataclass(frozen=True)
class Hyperparameters:
    """What every fine-tuning has and an architecture has defaults of.

    Attributes:
        learning_rate: at the end of the warm-up.
        batch_size: sequences a step.
        warmup: share of all steps in which the rate rises, 0 to 1.
        weight_decay: AdamW's.
        epochs: passes over the train set.
    """

    learning_rate: float
    batch_size: int
    warmup: float
    weight_decay: float
    epochs: int


@dataclass(frozen=True)
class Settings:
    """One run's settings; what is None comes from the model's architecture (:meth:`completed`).

    Each field's help says what it is. ``output`` is the only one that does not decide the result.

    Raises:
        SettingsError: a value outside what is accepted.
    """

    output: Annotated[Path, Option(help="The run's folder; the same command goes on with what it holds.")]
    model: Annotated[
        str, Option(help="Path, hub name, or small, base, multilingual (base-6 is its lowest 6 layers).")
    ] = "bundled"
    epochs: Annotated[int | None, Option(min=1, help="Passes over the train set.")] = None
    batch_size: Annotated[int | None, Option(min=1, help="Sequences a step sees, accumulation included.")] = None
    accumulation: Annotated[int, Option(min=1, help="Forward passes a step is made of; divides the batch size.")] = 1
    learning_rate: Annotated[float | None, Option(help="After the warm-up; falls linearly to 0.")] = None
    warmup: Annotated[float | None, Option(min=0, max=0.99, help="Share of the steps in which the rate rises.")] = None
    weight_decay: Annotated[float | None, Option(min=0, help="AdamW's.")] = None
    max_length: Annotated[int, Option(min=2, help="Tokens a sequence is cut to.")] = 128
    dropout: Annotated[
        float | None, Option(min=0, max=0.99, help="Of hidden states and in the head; the checkpoint's own by default.")
    ] = None
    attention_dropout: Annotated[
        float | None, Option(min=0, max=0.99, help="The checkpoint's own by default; 0 is faster on a CPU.")
    ] = None
    label_smoothing: Annotated[float, Option(min=0, max=0.99)] = 0.0
    seed: Annotated[int, Option(min=0, help="Of the head's first weights, the order and dropout.")] = 0
    lora_rank: Annotated[int | None, Option(min=1, help="Train LoRA adapters of this rank, not every weight.")] = None
    lora_alpha: Annotated[
        float | None,
        Option(min=0.001, help="What LoRA adds is scaled by this over the rank; twice the rank by default."),
    ] = None
    lora_targets: Annotated[
        str | None, Option(help="Endings of linear layers' names, with commas: query,value; all layers by default.")
    ] = None
    lora_dropout: Annotated[
        float, Option(min=0, max=0.99, help="Of what LoRA's layers are given, whatever --dropout says.")
    ] = 0.05
    rslora: Annotated[bool, Option(help="Scale by alpha over the rank's square root, for high ranks.")] = False
    lora_from: Annotated[
        str | None, Option(help="Folder of a LoRA adapter of the model, which is trained on at the ranks that it has.")
    ] = None
    freeze_embeddings: Annotated[bool, Option(help="Leave the word embeddings as they are.")] = False
    average: Annotated[
        float | None, Option(min=0.01, max=1, help="Average the weights of the last steps, this share of all.")
    ] = None
    patience: Annotated[int | None, Option(min=1, help="Stop after so many epochs without a better one.")] = None
    eval_steps: Annotated[
        int | None,
        Option("--eval-steps", "--evaluate-every", min=1, help="Evaluate every so many steps, not after every epoch."),
    ] = None
    save_steps: Annotated[int | None, Option(min=1, help="Save every so many steps, not after every epoch.")] = None

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self), include_extras=True).items():
            option, value = hint.__metadata__[0], getattr(self, name)
            if value is None:
                continue
            if (option.min is not None and value < option.min) or (option.max is not None and value > option.max):
                accepted = f"{option.min} to {option.max}" if option.max is not None else f"{option.min} or more"
                raise SettingsError(f"{name} is {value}; {accepted} is accepted")
        if self.learning_rate is not None and not 0 < self.learning_rate < 1:
            raise SettingsError(f"learning_rate is {self.learning_rate}; above 0 and below 1 is accepted")
        chosen = [name for name in LORA if getattr(self, name) != getattr(type(self), name)]
        settled = [name for name in ("lora_rank", *OF_AN_ADAPTER) if getattr(self, name) != getattr(type(self), name)]
        if self.lora_from is not None and settled:
            raise SettingsError(f"{', '.join(settled)} beside lora_from, whose adapter has its own")
        if not self.with_lora and chosen:
            raise SettingsError(f"{', '.join(chosen)} without lora_rank or lora_from, which train with LoRA")
        if self.batch_size is not None and self.batch_size % self.accumulation:
            raise SettingsError(
                f"batch_size {self.batch_size} cannot be made of {self.accumulation} equal passes; let accumulation "
                "divide it"
            )

    @property
    def with_lora(self) -> bool:
        """Whether low-rank adapters are trained and not every weight."""
        return self.lora_rank is not None or self.lora_from is not None

    def completed(self, config: PreTrainedConfig) -> Settings:
        """Return the settings with the architecture's defaults where nothing was chosen."""
        from trident_training.finetune.defaults import defaults_for

        defaults = asdict(defaults_for(config))
        return replace(self, **{name: value for name, value in defaults.items() if getattr(self, name) is None})

    def hyperparameters(self) -> Hyperparameters:
        """Return what completed settings have of everything that an architecture has defaults of.

        Raises:
            SettingsError: they are not complete.
        """
        found = {each.name: getattr(self, each.name) for each in fields(Hyperparameters)}
        lacking = [name for name, value in found.items() if value is None]
        if lacking:
            raise SettingsError(f"{', '.join(lacking)} of the run is not settled")
        return Hyperparameters(**found)

    def as_dict(self) -> dict[str, Any]:
        """Return what decides the result, as JSON has it."""
        return {name: value for name, value in asdict(self).items() if name != "output"}

    def claim_output(self, facts: dict[str, Any]) -> None:
        """Write the settings into the output folder, or find that they are the ones that it was begun with.

        Args:
            facts: further things that must be the same to go on, the data's digest above all.

        Raises:
            SettingsError: the folder holds a run that was begun with others, each of which is named, or a file that
                cannot be read.
        """
        file = self.output / FILE
        mine = self.as_dict() | facts
        if file.is_file():
            before = read_json(file)
            # A run that was begun before there was a setting had its default.
            before = {each.name: each.default for each in fields(self)} | before
            changed = [name for name in mine if mine[name] != before.get(name)]
            if changed:
                differences = "; ".join(f"{name} was {before.get(name)!r} and is {mine[name]!r}" for name in changed)
                raise SettingsError(
                    f"{self.output} holds a run with other settings: {differences}. Choose another output folder, or "
                    "remove this one."
                )
            return
        self.output.mkdir(parents=True, exist_ok=True)
        write_json(file, mine)


def read_json(file: Path, advice: str = REMOVE_IT) -> dict[str, Any]:
    """Read what a run noted; ``advice`` is what a refusal ends with.

    Raises:
        SettingsError: it is no JSON object, as where a disk was full.
    """
    try:
        content = json.loads(file.read_text())
    except ValueError as error:
        raise SettingsError(f"{file} is no JSON: {error}. {advice}") from error
    if not isinstance(content, dict):
        raise SettingsError(f"{file} holds no object. {advice}")
    return content


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write what a run notes, so that the file is whole or is not there."""
    draft = file.with_name(f".{file.name}")
    draft.write_text(json.dumps(content, indent=2) + "\n")
    draft.replace(file)
