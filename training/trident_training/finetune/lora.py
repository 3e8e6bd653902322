"""Low-rank adapters on a model that is trained, and their weights merged into it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from trident_training.checkpoints.adapters import LEFT, RIGHT, read_adapter
from trident_training.data.problems import one_line
from trident_training.finetune.model import TrainedModel, WrappedModel
from trident_training.finetune.settings import Settings, SettingsError

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
        SettingsError: the adapter to train on does not fit the model, or has no factors.
        CheckpointError: it cannot be read.
    """
    from peft import LoraConfig, get_peft_model

    if settings.lora_from is not None:
        return _with_adapter(model, Path(settings.lora_from), settings.lora_dropout)
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


def _with_adapter(model: TrainedModel, folder: Path, dropout: float) -> nn.Module:
    """Return the model with a shipped adapter's head and, as what is trained, its factors, each matrix at its rank."""
    from peft import LoraConfig, get_peft_model

    held = read_adapter(folder)
    inner, prefix = (model.encoder, "encoder.") if isinstance(model, WrappedModel) else (model, "")
    factors = {name.removesuffix(f".weight{LEFT}"): tensor for name, tensor in held.items() if name.endswith(LEFT)}
    if not factors:
        raise SettingsError(f"{folder} holds no factors of LoRA; an adapter that was made with lora_rank is accepted")
    whole = {name: tensor for name, tensor in held.items() if not name.endswith((LEFT, RIGHT))}
    try:
        unexpected = inner.load_state_dict(whole, strict=False).unexpected_keys
        ranks = {prefix + name: tensor.size(1) for name, tensor in factors.items()}
        trained = get_peft_model(
            model,
            # Alpha is the rank, so that the factors' product counts once.
            LoraConfig(
                target_modules=list(ranks),
                rank_pattern=ranks,
                alpha_pattern=ranks,
                lora_dropout=dropout,
                modules_to_save=_heads(model),
            ),
        )
        for name, left in factors.items():
            layer = cast(Any, inner.get_submodule(name))
            for side, tensor in ((layer.lora_A, held[f"{name}.weight{RIGHT}"]), (layer.lora_B, left)):
                side["default"].load_state_dict({"weight": tensor})
    except (AttributeError, KeyError, RuntimeError, ValueError) as error:
        raise SettingsError(f"{folder} does not fit the model: {one_line(error)}") from error
    if unexpected:
        raise SettingsError(f"{folder} holds {', '.join(unexpected)}, which the model has no place for")
    return trained


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
