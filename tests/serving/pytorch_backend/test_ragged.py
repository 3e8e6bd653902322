"""Ragged inputs, every batch input kind and the batch output."""

import numpy as np
import pytest

from .client import Client

pytestmark = pytest.mark.serving


@pytest.fixture(scope="module")
def ragged(client: Client) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Three requests of different shapes, one with two items, that one execution answered; inputs and answers."""
    arrays = [
        np.arange(2 * n * items, dtype=np.float32).reshape(items, n, 2) + 100 * n
        for items, n in [(1, 2), (2, 1), (1, 3)]
    ]
    before = client.executions("ragged")
    answers = client.infer_together(
        "ragged", [{"X": array, "SCALE": np.full((len(array), 1), array[0, 0, 0], np.float32)} for array in arrays]
    )
    assert client.executions("ragged") - before == 1
    return list(zip(arrays, answers, strict=True))


@pytest.fixture(scope="module")
def told(ragged) -> dict[str, tuple[int, int, list[float]]]:
    """By argument, its number of dimensions, its length and its first eight elements."""
    rows = ragged[0][1]["TOLD"][0]
    names = ["count", "accumulated", "with_zero", "longest", "item_shape", "item_shape_flat", "X"]
    return {name: (int(each[0]), int(each[1]), each[2:].tolist()) for name, each in zip(names, rows, strict=True)}


@pytest.fixture(scope="module")
def in_order(ragged, told) -> list[np.ndarray]:
    """The inputs in the order in which they were joined, which threads do not fix; it shows in the flat input."""
    flat = told["X"][2]
    return sorted(
        (array for array, _ in ragged), key=lambda array: flat.index(array[0, 0, 0]) if array[0, 0, 0] in flat else 99
    )


def test_ragged_inputs_arrive_flattened_and_concatenated(told, in_order):
    flat = np.concatenate([array.reshape(-1) for array in in_order])
    assert told["X"] == (1, 14, flat[:8].tolist())


def test_inputs_that_are_not_ragged_keep_the_batch_dimension(ragged):
    for array, answer in ragged:
        assert answer["SCALED"].tolist() == [[2 * array[0, 0, 0]]] * len(array)


def test_batch_element_count_is_the_number_of_elements_of_each_request(told, in_order):
    assert told["count"] == (1, 3, _padded([array.size for array in in_order]))


def test_batch_accumulated_element_count_is_its_running_sum(told, in_order):
    assert told["accumulated"] == (1, 3, _padded(np.cumsum([array.size for array in in_order])))


def test_batch_accumulated_element_count_with_zero_starts_at_zero(told, in_order):
    assert told["with_zero"] == (1, 4, _padded(np.cumsum([0, *(array.size for array in in_order)])))


def test_batch_max_element_count_as_shape_is_as_long_as_the_largest_request(told):
    assert told["longest"][:2] == (1, 6)


def test_batch_item_shape_has_a_row_for_each_item_of_the_batch(told, in_order):
    assert told["item_shape"] == (2, 4, _padded([dim for array in in_order for item in array for dim in item.shape]))


def test_batch_item_shape_flatten_has_the_same_in_one_dimension(told, in_order):
    shapes = [dim for array in in_order for item in array for dim in item.shape]
    assert told["item_shape_flat"] == (1, 8, _padded(shapes))


def test_an_empty_request_is_refused_and_those_that_would_join_it_are_answered(client):
    # On the C++ backend, whoever comes after it in the batch is answered from uninitialised memory.
    scale = np.zeros((1, 1), np.float32)
    requests = [{"X": np.full((1, n, 2), n, np.float32), "SCALE": scale} for n in (1, 0, 2)]
    first, empty, other = client.infer_together("ragged", requests)
    assert (empty.status(), "'X' is ragged and has no elements" in empty.message()) == ("400", True)
    for request, answer in ((requests[0], first), (requests[2], other)):
        assert answer["TWICE"].tolist() == (request["X"] * 2).tolist()


def _padded(values) -> list[float]:
    return [*map(float, values), *[0.0] * 8][:8]


def test_batch_scatter_with_input_shape_splits_a_flat_output(ragged):
    for array, answer in ragged:
        assert answer["TWICE"].tolist() == (array * 2).tolist()
