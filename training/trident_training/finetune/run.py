"""One fine-tuning: trains, evaluates after every epoch, keeps the best, and goes on where it was stopped."""

from __future__ import annotations

import copy
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    EvalPrediction,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_pt_utils import LengthGroupedSampler

from trident_training.checkpoints.precision import Precision, resolve
from trident_training.finetune.folder import alone, reporting_a_full_disk
from trident_training.finetune.memory import keep_freed_memory
from trident_training.finetune.model import TrainedModel, WrappedModel
from trident_training.finetune.plots import plot_training
from trident_training.finetune.settings import Settings, read_json, write_json

if TYPE_CHECKING:
    from peft import PeftModel

RESULT = "result.json"
TEST_METRICS = "test_metrics.json"
CURVES = "training.png"
BEST = "best"
LOSS = "loss"
AVERAGE = "average-{}.safetensors"
TAKEN = "taken"
STATE = "trainer_state.json"
#: Steps from one set of weights to the next that an average takes in.
AVERAGE_STEPS = 20
#: Sequences in one forward pass of an evaluation.
EVALUATION_BATCH = 64


@dataclass(frozen=True)
class Prepared:
    """What a task hands to the run.

    Attributes:
        model: with the task's head on it.
        tokenizer: the model's.
        train: tokenized rows to learn from.
        validation: tokenized rows to choose the best epoch by.
        collator: makes a batch of rows.
        compute_metrics: of predictions on ``validation``.
        primary: the metric the best epoch has most of.
        collapsed: says of an epoch's metrics why they show a collapsed model, or None.
        facts: what else decides the result, for the settings file.
        loss: of the model's outputs and the labels, as ``Trainer`` takes its ``compute_loss_func``; the model's own
            when None.
        remark: what is to be said of the data as it was tokenized, if anything.
    """

    model: TrainedModel
    tokenizer: PreTrainedTokenizerBase
    train: Dataset
    validation: Dataset
    collator: Callable[[list[dict[str, Any]]], dict[str, Any]]
    compute_metrics: Callable[[EvalPrediction], dict[str, float]]
    primary: str
    collapsed: Callable[[Mapping[str, float]], str | None]
    facts: dict[str, Any]
    loss: Callable[..., torch.Tensor] | None = None
    remark: str | None = None


@dataclass(frozen=True)
class Result:
    """What a run gave.

    Attributes:
        best: folder of the best epoch's model and tokenizer.
        primary: the metric it was chosen by, greater being better; ties by loss.
        epochs: metrics after each epoch, ``epoch`` and ``loss`` among them, and of the averaged weights where they are
            asked for.
        settings: what it was made with.
        collapsed: why the best epoch is a collapsed model and what to change, or None.
    """

    best: Path
    primary: str
    epochs: list[dict[str, float]]
    settings: dict[str, Any]
    collapsed: str | None

    @property
    def best_epoch(self) -> dict[str, float]:
        """The metrics of the best epoch."""
        return max(self.epochs, key=lambda epoch: rank(epoch, self.primary))

    @property
    def best_name(self) -> str:
        """What the best epoch is called."""
        return epoch_name(self.best_epoch)

    def write(self, file: Path) -> None:
        """Write everything but the folder."""
        content = {
            "primary": self.primary,
            "best_epoch": self.best_epoch,
            "epochs": self.epochs,
            "collapsed": self.collapsed,
            "settings": self.settings,
        }
        write_json(file, content)

    @classmethod
    def read(cls, output: Path) -> Result:
        """Read the result of a run that has ended.

        Raises:
            SettingsError: it cannot be read.
        """
        content = read_json(output / RESULT)
        return cls(output / BEST, content["primary"], content["epochs"], content["settings"], content["collapsed"])


def epoch_name(epoch: Mapping[str, float]) -> str:
    """Return what the metrics of a run's epoch are called."""
    return "average" if epoch.get("averaged") else f"epoch {epoch['epoch']:g}"


def rank(epoch: Mapping[str, float], primary: str) -> tuple[float, float]:
    """Return what epochs and models are ordered by: the primary metric, then the smaller loss; NaN comes last."""
    value, loss = epoch[primary], epoch[LOSS]
    return (-math.inf if math.isnan(value) else value, -math.inf if math.isnan(loss) else -loss)


def finetune(prepared: Prepared, settings: Settings, callbacks: Sequence[TrainerCallback] = ()) -> Result:
    """Train, or go on training, or return the result where training has ended.

    Args:
        prepared: model and data.
        settings: completed ones.
        callbacks: of the trainer, beside the run's own.

    Raises:
        SettingsError: the output folder holds a run with other settings.
    """
    with alone(settings.output), reporting_a_full_disk(settings.output):
        settings.claim_output(prepared.facts)
        if (settings.output / RESULT).is_file():
            return Result.read(settings.output)
        return _finetune(prepared, settings, callbacks)


def _finetune(prepared: Prepared, settings: Settings, callbacks: Sequence[TrainerCallback]) -> Result:
    average = WeightAverage(settings.average, settings.output) if settings.average else None
    patience = Patience(settings.patience, prepared.primary) if settings.patience else None
    further = [each for each in (average, patience) if each is not None]
    trainer = _trainer(prepared, settings, [*callbacks, *further])
    checkpoint = last_checkpoint(settings.output)
    stopped = TrainerState.load_from_json(str(Path(checkpoint) / STATE)) if checkpoint else None
    if stopped and patience and patience.exhausted(stopped):
        # Killed after the decision to stop and before the result.
        trainer.state = stopped
        if average:
            average.resume(stopped)
    else:
        trainer.train(resume_from_checkpoint=checkpoint)
        if not settings.eval_steps and not _evaluated(trainer.state):
            # Killed between the last step, which is saved, and its evaluation.
            trainer.evaluate()
    averaged = bool(average and average.weights)
    if average and averaged:
        cast(nn.Module, trainer.model).load_state_dict(average.weights)
        trainer.evaluate()
    epochs = evaluations(trainer.state)
    if averaged:
        # One more to choose from.
        epochs[-1]["averaged"] = True
    best = max(epochs, key=lambda epoch: rank(epoch, prepared.primary))
    result = Result(
        settings.output / BEST, prepared.primary, epochs, settings.as_dict() | prepared.facts, prepared.collapsed(best)
    )
    plot_training(trainer.state.log_history, prepared.primary, settings.output / CURVES)
    result.write(settings.output / BEST / RESULT)
    result.write(settings.output / RESULT)
    for each in settings.output.glob("checkpoint-*"):
        shutil.rmtree(each)
    for file in settings.output.glob(AVERAGE.format("*")):
        file.unlink()
    return result


class ResumableTrainer(Trainer):
    """A trainer whose order of rows follows from seed and epoch: resumed within an epoch, it sees the rest of it."""

    def __init__(self, *, train_dataset: Dataset, **options: Any) -> None:
        super().__init__(train_dataset=train_dataset, **options)
        self._lengths = list(train_dataset["length"])

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> EpochLengthSampler:
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return EpochLengthSampler(batch, self._lengths, self.args.seed)


class EpochLengthSampler(LengthGroupedSampler):
    """Puts rows of like length into one batch, in an order drawn anew for every epoch."""

    def __init__(self, batch_size: int, lengths: list[int], seed: int) -> None:
        super().__init__(batch_size, lengths=lengths)
        self._seed, self._epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Take the order of this epoch; the data loader calls it."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._epoch)
        order: Iterator[int] = super().__iter__()  # type: ignore[no-untyped-call]
        return order


class KeepBest(TrainerCallback):
    """Writes model and tokenizer to ``best/`` whenever an epoch is better than all before it; LoRA merged in."""

    def __init__(self, folder: Path, prepared: Prepared) -> None:
        self._folder, self._prepared = folder, prepared

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Compare the epoch just evaluated with those before, which a resumed run knows too."""
        ranks = [rank(epoch, self._prepared.primary) for epoch in evaluations(state)]
        if ranks[-1] > max(ranks[:-1], default=(-math.inf, -math.inf)) or not self._folder.is_dir():
            draft = self._folder.with_name(f".{self._folder.name}")
            shutil.rmtree(draft, ignore_errors=True)
            merged(kwargs["model"]).save_pretrained(draft)
            self._prepared.tokenizer.save_pretrained(draft)
            shutil.rmtree(self._folder, ignore_errors=True)
            draft.rename(self._folder)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Let the trainer know no best checkpoint: at its end it would leave that one in place of the last.

        A run that is killed before its result goes on from the last one.
        """
        state.best_model_checkpoint = None


class WeightAverage(TrainerCallback):
    """Takes the mean of a model's weights over the last steps; it goes on after an interruption.

    Source: Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization (2018).

    Args:
        share: of all steps, the last ones, that the mean is taken over.
        folder: the run's.

    Attributes:
        weights: the mean, by name; none before the first step that counts.
    """

    def __init__(self, share: float, folder: Path) -> None:
        self._share, self._folder = share, folder
        self._taken = 0
        self.weights: dict[str, torch.Tensor] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take up the mean that was saved for the step that training goes on from."""
        self.resume(state)

    def resume(self, state: TrainerState) -> None:
        """Take up the mean that was saved beside a checkpoint."""
        saved = self._file(state)
        if saved.is_file():
            self.weights = load_file(saved)
            self._taken = int(self.weights.pop(TAKEN))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Add the weights of every twentieth step."""
        if state.global_step >= (1 - self._share) * state.max_steps and state.global_step % AVERAGE_STEPS == 0:
            self._taken += 1
            for name, tensor in kwargs["model"].state_dict().items():
                if self._taken == 1:
                    self.weights[name] = tensor.detach().clone()
                elif tensor.is_floating_point():
                    self.weights[name] += (tensor.detach() - self.weights[name]) / self._taken
        self._save_before(state, control)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Save the mean where the epoch's checkpoint follows."""
        self._save_before(state, control)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Remove the means of older checkpoints, now that the new one is whole."""
        for file in self._folder.glob(AVERAGE.format("*")):
            if file != self._file(state):
                file.unlink()

    def _save_before(self, state: TrainerState, control: TrainerControl) -> None:
        # Before the checkpoint and not within it: a run killed in between still has the older pair.
        if control.should_save and self.weights:
            save_file(self.weights | {TAKEN: torch.tensor(self._taken)}, self._file(state))

    def _file(self, state: TrainerState) -> Path:
        return self._folder / AVERAGE.format(state.global_step)


class Patience(TrainerCallback):
    """Stops after some evaluations without a better one; what was evaluated before an interruption counts too."""

    def __init__(self, most: int, primary: str) -> None:
        self._most, self._primary = most, primary

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stop where it is enough."""
        if self.exhausted(state):
            control.should_training_stop = True

    def exhausted(self, state: TrainerState) -> bool:
        """Whether so many evaluations as were to be borne came after the best one."""
        ranks = [rank(epoch, self._primary) for epoch in evaluations(state)]
        return bool(ranks) and len(ranks) - 1 - ranks.index(max(ranks)) >= self._most


def last_checkpoint(output: Path) -> str | None:
    """Return the newest checkpoint that was written to its end, which is where the trainer's state is written."""
    whole = [file.parent for file in output.glob(f"checkpoint-*/{STATE}")]
    return str(max(whole, key=lambda folder: int(folder.name.rpartition("-")[2]))) if whole else None


def merged(model: TrainedModel | PeftModel) -> TrainedModel:
    """Return a model whose LoRA adapters, if it has any, are part of its weights; the given one keeps training."""
    from peft import PeftModel

    if not isinstance(model, PeftModel):
        return model
    # Found by name at run time, so that it passes for a tensor.
    tuner: Any = copy.deepcopy(model).base_model
    whole: TrainedModel = tuner.merge_and_unload()
    return whole


def with_lora(model: TrainedModel, settings: Settings) -> nn.Module:
    """Return the model with LoRA adapters on linear layers other than the head's, which is trained whole.

    Source: Hu et al., LoRA (2021); on all linear layers: Dettmers et al., QLoRA (2023), with alpha = 2 rank; scaled for
    high ranks: Kalajdzievski, A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA (2023).

    Raises:
        ValueError: no layer has a name that the settings target.
    """
    from peft import LoraConfig, get_peft_model

    rank = settings.lora_rank or 1
    heads = _heads(model)
    return get_peft_model(
        model,
        LoraConfig(
            r=rank,
            # peft declares whole numbers and computes with any.
            lora_alpha=2 * rank if settings.lora_alpha is None else settings.lora_alpha,  # type: ignore[arg-type]
            lora_dropout=settings.lora_dropout,
            use_rslora=settings.rslora,
            target_modules=settings.lora_targets.split(",") if settings.lora_targets else "all-linear",
            exclude_modules=heads,
            modules_to_save=heads,
        ),
    )


def _heads(model: TrainedModel) -> list[str]:
    """Return the names of what stands on an encoder, also of what a wrapped model has on its own one."""
    heads = [
        name
        for name, child in model.named_children()
        if name != model.base_model_prefix and next(child.parameters(), None) is not None
    ]
    if isinstance(model, WrappedModel) and model.encoder.base_model is not model.encoder:
        heads += _heads(model.encoder)
    return heads


def _trainer(prepared: Prepared, settings: Settings, further: Sequence[TrainerCallback]) -> Trainer:
    chosen = settings.hyperparameters()
    model = prepared.model
    trained: nn.Module = model
    if not torch.cuda.is_available():
        keep_freed_memory()
        # Its backward pass takes less time on a processor than the fused kernel's, which computes the scores again.
        model.set_attn_implementation("eager")
    if settings.freeze_embeddings:
        model.get_input_embeddings().requires_grad_(False)
    if settings.lora_rank is not None:
        trained = with_lora(model, settings)
    callbacks = [KeepBest(settings.output / BEST, prepared), *further]
    trainer = ResumableTrainer(
        model=trained,
        args=TrainingArguments(
            output_dir=str(settings.output),
            num_train_epochs=chosen.epochs,
            per_device_train_batch_size=chosen.batch_size // settings.accumulation,
            gradient_accumulation_steps=settings.accumulation,
            per_device_eval_batch_size=EVALUATION_BATCH,
            learning_rate=chosen.learning_rate,
            warmup_steps=chosen.warmup,
            weight_decay=chosen.weight_decay,
            label_smoothing_factor=settings.label_smoothing,
            seed=settings.seed,
            eval_strategy="steps" if settings.eval_steps else "epoch",
            eval_steps=settings.eval_steps,
            save_strategy="steps" if settings.save_steps else "epoch",
            save_steps=settings.save_steps or 500,
            save_total_limit=1,
            metric_for_best_model=prepared.primary,
            greater_is_better=True,
            logging_steps=20,
            report_to="tensorboard",
            # Found by the model's arguments otherwise, and a loss of the project's own is no part of the model.
            label_names=["labels"] if prepared.loss else None,
            dataloader_pin_memory=torch.cuda.is_available(),
            **_device(),
        ),
        train_dataset=prepared.train,
        eval_dataset=prepared.validation,
        data_collator=prepared.collator,
        compute_metrics=prepared.compute_metrics,
        compute_loss_func=prepared.loss,
        callbacks=callbacks,
    )
    if prepared.loss is None:
        # Heads whose `forward` takes any keyword count as dividing by the step's items, and return their pass's mean.
        trainer.model_accepts_loss_kwargs = False
    return trainer


class _Device(TypedDict, total=False):
    bf16: bool
    fp16: bool
    use_cpu: bool


def _device() -> _Device:
    """Return the device and the half precision it computes fast in, as ``TrainingArguments`` names them."""
    if torch.cuda.is_available():
        bfloat16 = torch.cuda.is_bf16_supported()
        return {"bf16": bfloat16, "fp16": not bfloat16}
    return {"use_cpu": True, "bf16": resolve(Precision.AUTO) is Precision.BFLOAT16}


def _evaluated(state: TrainerState) -> bool:
    """Whether the last step was evaluated."""
    return any("eval_loss" in entry and entry["step"] == state.global_step for entry in state.log_history)


def evaluations(state: TrainerState) -> list[dict[str, float]]:
    """Return the metrics of every evaluation so far, those before an interruption among them."""
    return [
        {
            name.removeprefix("eval_"): value
            for name, value in entry.items()
            if name == "epoch" or name.startswith("eval_")
        }
        for entry in state.log_history
        if "eval_loss" in entry
    ]
