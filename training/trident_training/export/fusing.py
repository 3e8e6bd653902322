"""Linear layers that are given the same tensor, such as attention's query, key and value, computed as one.

One wide product keeps the cores busier than three narrow ones. Which layers belong together is seen by running the
encoder once, so that no architecture has to be known by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def fuse_siblings(encoder: nn.Module, *arguments: Tensor) -> None:
    """Replace each group of linear layers that always get the same tensor, in place.

    Args:
        encoder: what to change.
        arguments: what to call it with to see which layers belong together.
    """
    with torch.no_grad(), _watched(encoder) as calls:
        encoder(*arguments)
    for group in _groups(calls):
        wide = _Wide(group)
        for place, layer in enumerate(group):
            _replace(encoder, layer, _Share(wide, place))


class _Wide(nn.Module):
    """Several linear layers as one; keeps the parts of its answer until their turn comes."""

    def __init__(self, layers: list[nn.Linear]) -> None:
        super().__init__()
        self.sizes = [layer.out_features for layer in layers]
        self.linear = nn.Linear(layers[0].in_features, sum(self.sizes), layers[0].bias is not None)
        self.linear.weight = nn.Parameter(torch.cat([layer.weight for layer in layers]))
        if layers[0].bias is not None:
            self.linear.bias = nn.Parameter(torch.cat([layer.bias for layer in layers]))
        self.parts: tuple[Tensor, ...] = ()

    def forward(self, hidden: Tensor) -> Tensor:
        parts: tuple[Tensor, ...] = self.linear(hidden).split(self.sizes, dim=-1)
        self.parts = parts[1:]
        return parts[0]


class _Share(nn.Module):
    """Stands where one of the layers stood. The first computes for all."""

    def __init__(self, wide: _Wide, place: int) -> None:
        super().__init__()
        # Only the first owns it: a module that stands in two places would be traced twice.
        self.wide = wide if place == 0 else None
        self._of = [wide]
        self.place = place

    def forward(self, hidden: Tensor) -> Tensor:
        if self.wide is None:
            return self._of[0].parts[self.place - 1]
        first: Tensor = self.wide(hidden)
        return first


@contextmanager
def _watched(encoder: nn.Module) -> Iterator[list[tuple[nn.Linear, Tensor]]]:
    """Give a list that fills with every linear layer that is called, in order, and what it was given."""
    calls: list[tuple[nn.Linear, Tensor]] = []
    layers = [module for module in encoder.modules() if type(module) is nn.Linear]
    hooks = [layer.register_forward_pre_hook(lambda layer, given: calls.append((layer, given[0]))) for layer in layers]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def _groups(calls: list[tuple[nn.Linear, Tensor]]) -> list[list[nn.Linear]]:
    """Return the layers that were called in turn with one tensor, every time that any of them was called."""
    runs: list[list[nn.Linear]] = []
    previous = None
    for layer, given in calls:
        if given is not previous:
            runs.append([])
        runs[-1].append(layer)
        previous = given
    found = {tuple(map(id, run)): run for run in runs if len({layer.bias is None for layer in run}) == 1}
    alone = [run for run in runs if tuple(map(id, run)) not in found]
    members = [id(layer) for run in [*found.values(), *alone] for layer in run]
    # A layer in two different runs, or twice in one, has no fixed company.
    return [run for run in found.values() if len(run) > 1 and all(members.count(id(layer)) == 1 for layer in run)]


def _replace(encoder: nn.Module, layer: nn.Linear, share: _Share) -> None:
    for module in encoder.modules():
        for name, child in module.named_children():
            if child is layer:
                setattr(module, name, share)
