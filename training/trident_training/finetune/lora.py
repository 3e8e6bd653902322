"""Low-rank adapters on a model that is trained, and their weights merged into it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from torch import nn

from trident_training.finetune.model import TrainedModel, WrappedModel
from trident_training.finetune.settings import Settings

if TYPE_CHECKING:
    from peft import PeftModel


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
