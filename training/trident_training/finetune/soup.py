"""Averages the weights of several fine-tunings of one checkpoint.

Source: Wortsman et al., Model soups (2022), the uniform and the greedy recipe of section 2.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from trident_training.finetune.run import RESULT
from trident_training.finetune.settings import WRITTEN_BY, read_json
from trident_training.tasks.base import Predictor

Weights = dict[str, torch.Tensor]


def write_soup(
    checkpoints: Sequence[Path],
    predictors: Sequence[Predictor],
    output: Path,
    score: Callable[[], Mapping[str, float]],
    primary: str,
    *,
    names: Sequence[str],
    companions: Sequence[str],
    uniform: bool,
) -> tuple[list[str], Mapping[str, float]]:
    """Write the average of several fine-tunings as a checkpoint, with what it scores and what each of them did.

    Args:
        checkpoints: the fine-tunings' folders, each with its ``result.json``.
        predictors: what was loaded from them, in the same order; the first one's model is changed.
        output: the checkpoint's folder.
        score: metrics of the first model, as it stands, on the validation set.
        primary: the metric to choose by; greater is better.
        names: what the checkpoints are called.
        companions: files beside the first one's weights that the average takes over.
        uniform: take all of them; else only those by which the average gets no worse.

    Returns:
        The names of the checkpoints that were taken, and what their average scores.

    Raises:
        OSError: a checkpoint has no ``result.json``, or the folder cannot be made.
        SettingsError: a ``result.json`` cannot be read.
        ValueError: no checkpoint, one without a model, or two that differ in names or shapes.
    """
    # The libraries that write say nothing where a file has the folder's place.
    output.mkdir(parents=True, exist_ok=True)
    results = [read_json(checkpoint / RESULT, WRITTEN_BY) for checkpoint in checkpoints]
    models = [predictor.model for predictor in predictors if predictor.model is not None]
    tokenizer = predictors[0].tokenizer
    if len(models) < len(predictors) or tokenizer is None:
        raise ValueError("only checkpoints have weights to average")
    weights = [{name: tensor.clone() for name, tensor in model.state_dict().items()} for model in models]
    found: Mapping[str, float] = {}

    def scored() -> float:
        nonlocal found
        found = score()
        return found[primary]

    # Both score last what they leave in the model.
    taken, _ = (uniform_soup if uniform else greedy_soup)(models[0], weights, scored)
    models[0].save_pretrained(output)
    tokenizer.save_pretrained(output)
    for name in companions:
        if (checkpoints[0] / name).is_file():
            shutil.copyfile(checkpoints[0] / name, output / name)
    chosen = {names[index]: results[index] for index in taken}
    (output / RESULT).write_text(
        json.dumps({"primary": primary, "best_epoch": dict(found), "soup": chosen}, indent=2) + "\n"
    )
    return list(chosen), found


def uniform_soup(
    model: nn.Module, ingredients: Sequence[Weights], score: Callable[[], float]
) -> tuple[list[int], float]:
    """Leave in ``model`` the average of all ingredients; arguments, result and errors are :func:`greedy_soup`'s."""
    _check(ingredients)
    model.load_state_dict(_mean(ingredients))
    return list(range(len(ingredients))), score()


def greedy_soup(
    model: nn.Module, ingredients: Sequence[Weights], score: Callable[[], float]
) -> tuple[list[int], float]:
    """Leave in ``model`` the best average of the ingredients that taking them one by one finds.

    Args:
        model: of the ingredients' architecture.
        ingredients: weights to average, all fine-tuned from one checkpoint.
        score: scores ``model`` as it stands; greater is better.

    Returns:
        The indices taken, and what their average scores.

    Raises:
        ValueError: no ingredient, or two that differ in names or shapes.
    """
    _check(ingredients)

    def try_with(indices: Sequence[int]) -> float:
        model.load_state_dict(_mean([ingredients[index] for index in indices]))
        return score()

    alone = [try_with([index]) for index in range(len(ingredients))]
    first, *others = sorted(range(len(ingredients)), key=lambda index: -alone[index])
    taken, best = [first], alone[first]
    for index in others:
        found = try_with([*taken, index])
        if found >= best:
            taken, best = [*taken, index], found
    try_with(taken)
    return taken, best


def _check(ingredients: Sequence[Weights]) -> None:
    if not ingredients:
        raise ValueError("there is nothing to average; give two checkpoints or more")
    shapes = [{name: tensor.shape for name, tensor in each.items()} for each in ingredients]
    if any(each != shapes[0] for each in shapes):
        raise ValueError("the checkpoints are not of one architecture; give fine-tunings of the same checkpoint")


def _mean(weights: Sequence[Weights]) -> Weights:
    return {name: _mean_of([each[name] for each in weights]) for name in weights[0]}


def _mean_of(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    # A mean of equal numbers may be another number, and what was frozen must stay what it was.
    if not tensors[0].is_floating_point() or all(torch.equal(tensors[0], each) for each in tensors):
        return tensors[0]
    return torch.stack(list(tensors)).mean(0)
