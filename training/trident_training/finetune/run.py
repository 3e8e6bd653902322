"""One fine-tuning: trains, evaluates after every epoch, keeps the best, and goes on where it was stopped."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, cast

import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.utils.data import Sampler
from transformers import (
    EvalPrediction,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
)

from trident_training.checkpoints.precision import Precision, resolve
from trident_training.finetune import processes
from trident_training.finetune.callbacks import AVERAGE, KeepBest, Log, Patience, WeightAverage
from trident_training.finetune.epochs import epoch_name, evaluated, evaluations, rank
from trident_training.finetune.folder import alone, reporting_a_full_disk
from trident_training.finetune.lora import with_lora
from trident_training.finetune.memory import keep_freed_memory
from trident_training.finetune.model import TrainedModel, WrappedModel
from trident_training.finetune.plots import plot_training
from trident_training.finetune.resuming import STATE, UNREADABLE, last_checkpoint, put_aside_the_unreadable
from trident_training.finetune.sampling import EpochLengthSampler, PartOfEachBatch
from trident_training.finetune.settings import REMOVE_IT, Settings, SettingsError, read_json, write_json

RESULT = "result.json"
TEST_METRICS = "test_metrics.json"
CURVES = "training.png"
BEST = "best"
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
        try:
            found = cls(output / BEST, content["primary"], content["epochs"], content["settings"], content["collapsed"])
            # Each of what it is ranked by is there.
            rank(found.best_epoch, found.primary)
        except (KeyError, TypeError, ValueError) as error:
            lacking = f"lacks {error}" if isinstance(error, KeyError) else f"is no result: {error}"
            raise SettingsError(f"{output / RESULT} {lacking}. {REMOVE_IT}") from error
        return found


def finetune(
    prepared: Prepared,
    settings: Settings,
    callbacks: Sequence[TrainerCallback] = (),
    *,
    say: Callable[[str], None],
) -> Result:
    """Train, or go on training, or return the result where training has ended.

    Args:
        prepared: model and data.
        settings: completed ones.
        callbacks: of the trainer, beside the run's own.
        say: told of checkpoints that cannot be gone on with.

    Raises:
        SettingsError: the output folder holds a run with other settings, the batch cannot be divided among the
            processes that train together, or the adapter to train on does not fit the model.
        CheckpointError: that adapter cannot be read.
    """
    _check_processes(settings)
    # Settings that do not fit the model are refused before the folder is theirs.
    model = _to_train(prepared.model, settings)
    with alone(settings.output) if processes.is_first() else nullcontext(), reporting_a_full_disk(settings.output):
        if processes.is_first():
            settings.claim_output(prepared.facts)
            put_aside_the_unreadable(settings.output, say)
        # What the first one found or wrote, all go on from.
        processes.wait_for_others()
        ended = (settings.output / RESULT).is_file()
        processes.wait_for_others()
        result = Result.read(settings.output) if ended else _finetune(model, prepared, settings, callbacks)
        processes.wait_for_others()
        processes.leave()
        return result


def _check_processes(settings: Settings) -> None:
    batch, together = settings.hyperparameters().batch_size // settings.accumulation, processes.count()
    if batch % together:
        raise SettingsError(f"a pass of {batch} sequences cannot be divided among {together} processes equally")


def _finetune(model: nn.Module, prepared: Prepared, settings: Settings, callbacks: Sequence[TrainerCallback]) -> Result:
    average = WeightAverage(settings.average, settings.output) if settings.average else None
    patience = Patience(settings.patience, prepared.primary) if settings.patience else None
    further = [each for each in (average, patience) if each is not None]
    trainer = _trainer(model, prepared, settings, [*callbacks, *further])
    checkpoint = last_checkpoint(settings.output)
    stopped = TrainerState.load_from_json(str(Path(checkpoint) / STATE)) if checkpoint else None
    if stopped and patience and patience.exhausted(stopped):
        # Killed after the decision to stop and before the result.
        trainer.state = stopped
        if average:
            average.resume(stopped)
    else:
        trainer.train(resume_from_checkpoint=checkpoint)
        if not settings.eval_steps and not evaluated(trainer.state):
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
    if not processes.is_first():
        return result
    plot_training(trainer.state.log_history, prepared.primary, settings.output / CURVES)
    result.write(settings.output / BEST / RESULT)
    result.write(settings.output / RESULT)
    for each in (*settings.output.glob("checkpoint-*"), *settings.output.glob(f"{UNREADABLE}*")):
        shutil.rmtree(each)
    for file in settings.output.glob(AVERAGE.format("*")):
        file.unlink()
    return result


class ResumableTrainer(Trainer):
    """A trainer whose order of rows follows from seed and epoch: resumed within an epoch, it sees the rest of it."""

    def __init__(self, *, train_dataset: Dataset, **options: Any) -> None:
        super().__init__(train_dataset=train_dataset, **options)
        self._lengths = list(train_dataset["length"])
        self._passes = 0

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[Any]:
        batch, together = self.args.train_batch_size * self.args.world_size, self.args.world_size
        rows = EpochLengthSampler(batch * self.args.gradient_accumulation_steps, self._lengths, self.args.seed)
        if together == 1:
            return rows
        return PartOfEachBatch(rows, batch, self.args.process_index, together, lambda: int(self.state.epoch or 0))

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *arguments: Any, **options: Any) -> Any:
        """Return the loss, which counts by the process' share of the batch's rows: the last batch may not divide."""
        loss = super().compute_loss(model, inputs, *arguments, **options)
        # Losses of the project's own are told how many rows there are, and count by them already.
        if self.args.world_size > 1 and model.training and self.compute_loss_func is None:
            rows = torch.tensor(len(next(iter(inputs.values()))), dtype=torch.float32, device=self.args.device)
            loss = loss * rows / self.accelerator.reduce(rows.clone(), "mean")
        return loss

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        if state_dict is None and isinstance(self.model, WrappedModel):
            # A tensor under two names, as T5's word embeddings are, is refused by the file's format.
            state_dict = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        super()._save(output_dir, state_dict)

    def evaluation_loop(self, *arguments: Any, **options: Any) -> Any:
        """Evaluate, and count the passes."""
        self._passes = 0
        return super().evaluation_loop(*arguments, **options)

    def prediction_step(self, model: nn.Module, inputs: dict[str, Any], *arguments: Any, **options: Any) -> Any:
        """Return a pass' loss and outputs; the loss is that of the rows which no other process has.

        Of several processes, each takes every so many batches. The last ones are filled with rows from the beginning,
        which the trainer takes off from outputs and labels alone.
        """
        loss, outputs, labels = super().prediction_step(model, inputs, *arguments, **options)
        size, together = self.args.eval_batch_size, self.args.world_size
        own = len(cast(Dataset, self.eval_dataset)) - size * (self._passes * together + self.args.process_index)
        self._passes += 1
        # A process without any is counted by none.
        if 0 < own < size and together > 1:
            with torch.no_grad(), self.compute_loss_context_manager():
                # Losses of the project's own take outputs, so that they need not know how a batch lies.
                if self.compute_loss_func:
                    loss = self.compute_loss_func({"logits": cast(Tensor, outputs)[:own]}, cast(Tensor, labels)[:own])
                else:
                    part = {name: rows[:own] for name, rows in self._prepare_inputs(inputs).items()}
                    loss = self.compute_loss(model, part)
        return loss, outputs, labels


def _to_train(model: TrainedModel, settings: Settings) -> nn.Module:
    if not torch.cuda.is_available():
        keep_freed_memory()
        # Its backward pass takes less time on a processor than the fused kernel's, which computes the scores again.
        model.set_attn_implementation("eager")
    if settings.freeze_embeddings:
        model.get_input_embeddings().requires_grad_(False)
    return with_lora(model, settings) if settings.with_lora else model


def _trainer(model: nn.Module, prepared: Prepared, settings: Settings, further: Sequence[TrainerCallback]) -> Trainer:
    chosen = settings.hyperparameters()
    callbacks = [Log(settings.output), KeepBest(settings.output / BEST, prepared), *further]
    trainer = ResumableTrainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(settings.output),
            num_train_epochs=chosen.epochs,
            per_device_train_batch_size=chosen.batch_size // settings.accumulation // processes.count(),
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
            # By a callback of the project's own.
            report_to="none",
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
    return {"use_cpu": True, "bf16": resolve(Precision.PORTABLE) is Precision.BFLOAT16}
