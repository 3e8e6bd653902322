"""Averages the weights of several fine-tunings of one checkpoint.

Source: Wortsman et al., Model soups (2022), the uniform and the greedy recipe of section 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from transformers import PreTrainedModel

Weights = dict[str, torch.Tensor]


def uniform_soup(
    model: PreTrainedModel, ingredients: Sequence[Weights], score: Callable[[], float]
) -> tuple[list[int], float]:
    """Leave in ``model`` the average of all ingredients; arguments, result and errors are :func:`greedy_soup`'s."""
    _check(ingredients)
    model.load_state_dict(_mean(ingredients))
    return list(range(len(ingredients))), score()


def greedy_soup(
    model: PreTrainedModel, ingredients: Sequence[Weights], score: Callable[[], float]
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
