"""Linear layers with one input become one, whatever the architecture calls them; all others stay as they are."""

import pytest
import torch
from torch import nn
from trident_training.export.fusing import fuse_siblings


class Attention(nn.Module):
    def __init__(self, *, biases: tuple[bool, bool, bool] = (True, True, True), memory: bool = False) -> None:
        super().__init__()
        self.one, self.two, self.three = (nn.Linear(8, 4 + index, bias) for index, bias in enumerate(biases))
        self.last = nn.Linear(15, 8)
        self.memory = memory

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        given = hidden + 0 if self.memory else hidden
        parts = [self.one(hidden), self.two(given), self.three(given)]
        return self.last(torch.cat(parts, dim=-1))


def products(module: nn.Module, example: torch.Tensor) -> list[int]:
    """Outputs of each linear product of the traced module, as Triton would run it."""
    frozen = torch.jit.freeze(torch.jit.trace(module.eval(), (example,)))
    return [
        list(node.inputs())[1].type().sizes()[0] for node in frozen.graph.findAllNodes("aten::linear", recurse=True)
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [15, 8]),
        ({"biases": (False, False, False)}, [15, 8]),
        # Not all of one kind, and not all given the same.
        ({"biases": (True, True, False)}, [4, 5, 6, 8]),
        ({"memory": True}, [4, 11, 8]),
    ],
)
def test_layers_given_the_same_are_computed_at_once_with_the_same_answer(options, expected) -> None:
    torch.manual_seed(0)
    module, example = Attention(**options), torch.randn(3, 8)
    before = module(example)
    fuse_siblings(module, example)
    torch.testing.assert_close(module(example), before)
    assert products(module, example) == expected
    other = torch.randn(5, 8)
    torch.testing.assert_close(torch.jit.trace(module, (example,))(other), module(other))


def test_layers_that_are_used_again_are_computed_for_each_use() -> None:
    torch.manual_seed(0)

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = Attention()

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return self.attention(self.attention(hidden))

    module, example = Twice(), torch.randn(3, 8)
    before = module(example)
    fuse_siblings(module, example)
    torch.testing.assert_close(module(example), before)
    assert products(module, example) == [15, 8, 15, 8]


def test_layers_with_changing_company_stay_apart() -> None:
    torch.manual_seed(0)

    class Changing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            both = self.one(hidden) + self.two(hidden)
            return self.one(both)

    module, example = Changing(), torch.randn(3, 8)
    before = module(example)
    fuse_siblings(module, example)
    torch.testing.assert_close(module(example), before)
    assert products(module, example) == [8, 8, 8]
