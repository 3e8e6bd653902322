"""What a run does beside training: keeps the best epoch, averages weights, and stops where it gets no better."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations.integration_utils import TensorBoardCallback, default_logdir

from trident_training.finetune.epochs import evaluations, rank
from trident_training.finetune.lora import merged

if TYPE_CHECKING:
    from trident_training.finetune.run import Prepared

AVERAGE = "average-{}.safetensors"
TAKEN = "taken"
#: Steps from one set of weights to the next that an average takes in.
AVERAGE_STEPS = 20


# Declared without types.
class Log(TensorBoardCallback):  # type: ignore[misc]
    """Writes TensorBoard's log below the run's folder, or where ``TENSORBOARD_LOGGING_DIR`` says.

    What is evaluated before anything was trained, as where a run that was killed goes on at its end, would be logged in
    the folder that the command runs in.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.logging_dir: str = os.getenv("TENSORBOARD_LOGGING_DIR") or str(folder / default_logdir())


class KeepBest(TrainerCallback):
    """Writes model and tokenizer to ``best/`` whenever an epoch is better than all before it; LoRA merged in."""

    def __init__(self, folder: Path, prepared: Prepared) -> None:
        self._folder, self._prepared = folder, prepared

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Compare the epoch just evaluated with those before, which a resumed run knows too."""
        if not state.is_world_process_zero:
            return
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
        if not state.is_world_process_zero:
            return
        for file in self._folder.glob(AVERAGE.format("*")):
            if file != self._file(state):
                file.unlink()

    def _save_before(self, state: TrainerState, control: TrainerControl) -> None:
        # Before the checkpoint and not within it: a run killed in between still has the older pair.
        if control.should_save and self.weights and state.is_world_process_zero:
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
