"""Averaging of fine-tuned weights, greedily."""

import json
import shutil

import pytest
import torch
from fine_tuned import SIZES, run
from safetensors.torch import load_file, save_file
from torch import nn
from trident_training.finetune.soup import greedy_soup, uniform_soup


def weights(*values: float) -> dict[str, torch.Tensor]:
    return {"weight": torch.tensor([values], dtype=torch.float32)}


def score_towards(target: float, model: nn.Linear):
    return lambda: -abs(model.weight.mean().item() - target)


def test_what_makes_the_average_better_is_taken_and_nothing_else():
    model = nn.Linear(2, 1, bias=False)
    ingredients = [weights(9, 9), weights(2, 2), weights(0, 0), weights(-50, -50)]
    taken, best = greedy_soup(model, ingredients, score_towards(1.0, model))
    assert sorted(taken) == [1, 2]
    assert best == pytest.approx(0)
    assert model.weight.tolist() == [[1, 1]]


def test_all_are_taken_when_asked_for_and_what_is_alike_stays_to_the_bit():
    model = nn.Linear(1, 1)
    ingredients = [weights(0.1) | {"bias": torch.tensor([bias])} for bias in (9.0, 1.0, -1.0)]
    taken, _ = uniform_soup(model, ingredients, score_towards(1.0, model))
    assert taken == [0, 1, 2]
    assert torch.equal(model.weight, ingredients[0]["weight"])
    assert model.bias.item() == pytest.approx(3)


def test_one_that_no_other_improves_stays_as_it_is():
    model = nn.Linear(2, 1, bias=False)
    taken, best = greedy_soup(model, [weights(5, 5), weights(1, 1)], score_towards(1.0, model))
    assert (taken, best) == ([1], 0)
    assert model.weight.tolist() == [[1, 1]]


@pytest.mark.parametrize("ingredients", [[], [weights(1, 2), weights(1, 2, 3)]])
def test_what_cannot_be_averaged_is_refused(ingredients):
    with pytest.raises(ValueError, match="give"):
        greedy_soup(nn.Linear(2, 1, bias=False), ingredients, lambda: 0.0)


@pytest.mark.slow
def test_a_soup_from_the_command_line(fine_tuned, toy_data, tmp_path):
    (_, one), two = fine_tuned("cola"), tmp_path / "two"
    shutil.copytree(one, two)
    tensors = load_file(one / "model.safetensors")
    save_file(
        {name: each + 0.01 for name, each in tensors.items()}, two / "model.safetensors", metadata={"format": "pt"}
    )
    soup = ["soup", "cola", one, two, "--output", tmp_path / "soup", "--data", toy_data, *SIZES]
    run(*soup)
    result = json.loads((tmp_path / "soup" / "result.json").read_text())
    before = json.loads((one / "result.json").read_text())["best_epoch"]["matthews_correlation"]
    assert result["best_epoch"]["matthews_correlation"] >= before
    assert set(result["soup"]) <= {str(one), str(two)}
    # Its head says the opposite: greedily it is left out, and taken in only where all are asked for.
    turned = {name: -each if name.startswith("classifier") else each for name, each in tensors.items()}
    save_file(turned, two / "model.safetensors", metadata={"format": "pt"})
    for further, taken in (([], {str(one)}), (["--uniform"], {str(one), str(two)})):
        run(*soup, *further)
        result = json.loads((tmp_path / "soup" / "result.json").read_text())
        assert set(result["soup"]) == taken
