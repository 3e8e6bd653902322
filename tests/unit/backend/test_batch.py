import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trident_server.backends.pytorch.batch import DESCRIPTIONS, decode, describe, join, split
from trident_server.backends.pytorch.configuration import BatchInput, ModelConfiguration
from trident_server.backends.pytorch.errors import RequestError, ShortOutputError
from trident_server.backends.pytorch.parameters import Parameters
from trident_server.backends.pytorch.tensors import Tensor

# Shapes of one input over a batch: 1 to 5 requests of equal rank, batch dimension first.
batches = st.integers(1, 3).flatmap(
    lambda rank: st.lists(st.tuples(st.integers(1, 3), *[st.integers(0, 4)] * rank), min_size=1, max_size=5)
)


def configuration(*, ragged=False, data_type="TYPE_INT64", max_batch_size=64, rank=1, batch_inputs=(), scattered=None):
    dims = (-1,) * rank
    return ModelConfiguration(
        name="small",
        file_name="model.pt",
        max_batch_size=max_batch_size,
        inputs=(Tensor("X", data_type, dims, ragged),),
        outputs=(Tensor("Y", data_type, dims),),
        batch_inputs=tuple(batch_inputs),
        scattered=scattered or {},
        instances=1,
        parameters=Parameters(),
    )


def requests_of(shapes):
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    return [
        {"X": np.arange(end - math.prod(shape), end).reshape(shape)} for end, shape in zip(ends, shapes, strict=True)
    ]


def description(kind, shapes, data_type="TYPE_INT32"):
    return describe(BatchInput("b", kind, data_type, "X"), shapes)


@given(batches)
def test_ragged_inputs_join_flat_and_scatter_back(shapes):
    requests = requests_of(shapes)
    made = configuration(ragged=True, rank=len(shapes[0]) - 1, scattered={"Y": "X"})
    (flat,) = join(made, requests)
    assert flat.tolist() == list(range(sum(math.prod(shape) for shape in shapes)))
    parts = split(made, made.outputs[0], flat, requests)
    assert [part.tolist() for part in parts] == [request["X"].tolist() for request in requests]


@given(st.lists(st.integers(1, 3), min_size=1, max_size=5), st.integers(0, 4))
def test_other_inputs_join_on_the_batch_dimension_and_split_back(sizes, width):
    requests = requests_of([(size, width) for size in sizes])
    made = configuration()
    (joined,) = join(made, requests)
    assert joined.shape == (sum(sizes), width)
    parts = split(made, made.outputs[0], joined, requests)
    assert [part.tolist() for part in parts] == [request["X"].tolist() for request in requests]


@given(batches)
def test_descriptions_agree_with_each_other(shapes):
    counts = description("BATCH_ELEMENT_COUNT", shapes)
    accumulated = description("BATCH_ACCUMULATED_ELEMENT_COUNT", shapes)
    with_zero = description("BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO", shapes)
    items = description("BATCH_ITEM_SHAPE", shapes)
    assert counts.tolist() == [math.prod(shape) for shape in shapes]
    assert np.diff(with_zero).tolist() == counts.tolist()
    assert with_zero[0] == 0
    assert with_zero[1:].tolist() == accumulated.tolist()
    assert len(description("BATCH_MAX_ELEMENT_COUNT_AS_SHAPE", shapes)) == max(counts)
    assert items.shape == (sum(shape[0] for shape in shapes), len(shapes[0]) - 1)
    assert items.prod(axis=1).sum() == counts.sum()
    assert description("BATCH_ITEM_SHAPE_FLATTEN", shapes).tolist() == items.reshape(-1).tolist()


def test_the_example_of_tritons_ragged_batching_page():
    shapes = [(1, 3), (1, 4), (1, 5)]
    assert description("BATCH_ACCUMULATED_ELEMENT_COUNT", shapes).tolist() == [3, 7, 12]


def test_an_item_shape_is_repeated_for_every_item_of_a_request():
    assert description("BATCH_ITEM_SHAPE", [(2, 7, 3), (1, 4, 5)]).tolist() == [[7, 3], [7, 3], [4, 5]]


@pytest.mark.parametrize("kind", DESCRIPTIONS)
@pytest.mark.parametrize(("data_type", "element"), [("TYPE_INT32", np.int32), ("TYPE_FP32", np.float32)])
def test_descriptions_are_of_the_configured_type(kind, data_type, element):
    assert description(kind, [(1, 2)], data_type).dtype == element


def test_batch_inputs_follow_the_inputs():
    made = configuration(ragged=True, batch_inputs=[BatchInput("n", "BATCH_ELEMENT_COUNT", "TYPE_INT32", "X")])
    flat, counts = join(made, requests_of([(1, 2), (1, 3)]))
    assert (len(flat), counts.tolist()) == (5, [2, 3])


@pytest.mark.parametrize("ragged", [True, False])
def test_a_single_request_is_passed_on_without_a_copy(ragged):
    requests = requests_of([(2, 3)])
    (joined,) = join(configuration(ragged=ragged), requests)
    assert np.shares_memory(joined, requests[0]["X"])


def test_parts_are_views_of_the_output():
    made, requests = configuration(), requests_of([(1, 2), (2, 2)])
    output = np.zeros((3, 2), dtype=np.int64)
    assert all(np.shares_memory(part, output) for part in split(made, made.outputs[0], output, requests))


def test_text_joins_to_a_list():
    texts = [{"X": np.array(["a", "b"], dtype=np.object_)}, {"X": np.array([""], dtype=np.object_)}]
    assert join(configuration(data_type="TYPE_STRING", rank=0), texts) == [["a", "b", ""]]


def test_without_a_batch_dimension_nothing_is_split():
    made, output = configuration(max_batch_size=0), np.zeros((7, 2), dtype=np.int64)
    (part,) = split(made, made.outputs[0], output, requests_of([(3,)]))
    assert part is output


def test_a_scattered_output_keeps_its_fixed_dimensions():
    made = configuration(ragged=True, scattered={"Y": "X"})
    output = Tensor("Y", "TYPE_INT64", (-1, 2))
    parts = split(made, output, np.arange(10), requests_of([(1, 2), (1, 3)]))
    assert [part.tolist() for part in parts] == [[[[0, 1], [2, 3]]], [[[4, 5], [6, 7], [8, 9]]]]


@pytest.mark.parametrize(
    ("scattered", "output", "says"),
    [
        ({}, np.zeros((2, 5)), "'Y' has 2 rows where the batch needs 3; the C.. backend would answer the first"),
        ({"Y": "X"}, np.zeros(13), "'Y' has 13 elements where the batch needs 14; the C.. backend would read past"),
    ],
)
def test_an_output_shorter_than_the_batch_is_an_error(scattered, output, says):
    made = configuration(scattered=scattered)
    with pytest.raises(ShortOutputError, match=says):
        split(made, made.outputs[0], output, requests_of([(1, 4), (2, 5)]))


def test_text_is_decoded_in_its_shape():
    array = np.array([["é".encode()], [b"\0"]], dtype=np.object_)
    assert decode("T", array).tolist() == [["é"], ["\0"]]
    with pytest.raises(RequestError, match="input 'T' must be UTF-8"):
        decode("T", np.array([b"ok", b"\xff"], dtype=np.object_))
