"""Joins requests into the arguments of one ``forward`` call and splits its outputs again; NumPy in and out.

Source of each kind's meaning: Triton's ragged batching page and model configuration protocol.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from trident_server.backends.pytorch.configuration import BatchInput, ModelConfiguration
from trident_server.backends.pytorch.errors import RequestError, ShortOutputError
from trident_server.backends.pytorch.tensors import ELEMENT_TYPES, STRING, Tensor

Array = npt.NDArray[np.generic]
Text = npt.NDArray[np.object_]
Shape = tuple[int, ...]
Argument = Array | list[str]
Inputs = Mapping[str, Array]


def decode(name: str, array: Text) -> Text:
    """Return text of UTF-8 bytes as ``str``, in the same shape.

    Raises:
        RequestError: a text is not UTF-8.
    """
    try:
        texts = [text.decode() for text in array.reshape(-1)]
    except UnicodeDecodeError as error:
        raise RequestError(f"input '{name}' must be UTF-8: {error}") from error
    return np.array(texts, dtype=np.object_).reshape(array.shape)


def join(configuration: ModelConfiguration, requests: Sequence[Inputs]) -> list[Argument]:
    """Make the arguments of one call: inputs in the order of the configuration, controls, states, then batch inputs.

    Ragged inputs are flattened and concatenated to one dimension, others are concatenated on the batch dimension;
    text becomes a list. A single request's tensors are passed on without a copy.

    Args:
        configuration: the model's.
        requests: arrays by input name, a mapping a request. Only one where there is no batch dimension.
    """
    joined = [_join(tensor, [request[tensor.name] for request in requests]) for tensor in configuration.given]
    described = [
        describe(each, [request[each.source].shape for request in requests]) for each in configuration.batch_inputs
    ]
    return [*joined, *described]


def _join(tensor: Tensor, arrays: Sequence[Array]) -> Argument:
    if tensor.data_type == STRING:
        return [text for array in arrays for text in array]
    if tensor.ragged:
        arrays = [array.reshape(-1) for array in arrays]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def describe(batch_input: BatchInput, shapes: Sequence[Shape]) -> Array:
    """Make the argument for a batch input.

    Args:
        batch_input: which description of which input.
        shapes: the source input's shapes, one a request, batch dimension first.

    Returns:
        By kind, for ``n`` requests of ``m`` batch items in all, whose shapes have ``d`` dimensions without the batch's:

        ``BATCH_ELEMENT_COUNT`` [n]: each request's number of elements;
        ``BATCH_ACCUMULATED_ELEMENT_COUNT`` [n]: its running sum;
        ``BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO`` [n + 1]: the same with a zero in front;
        ``BATCH_MAX_ELEMENT_COUNT_AS_SHAPE`` [elements of the largest request]: only its length means something;
        ``BATCH_ITEM_SHAPE`` [m, d]: each item's shape;
        ``BATCH_ITEM_SHAPE_FLATTEN`` [m * d]: the same, flattened.
    """
    return DESCRIPTIONS[batch_input.kind](shapes).astype(ELEMENT_TYPES[batch_input.data_type])


def _counts(shapes: Sequence[Shape]) -> Array:
    return np.array([math.prod(shape) for shape in shapes], dtype=np.int64)


def _item_shapes(shapes: Sequence[Shape]) -> Array:
    items = [shape[1:] for shape in shapes for _ in range(shape[0])]
    return np.array(items, dtype=np.int64).reshape(len(items), len(shapes[0]) - 1)


DESCRIPTIONS: Mapping[str, Callable[[Sequence[Shape]], Array]] = {
    "BATCH_ELEMENT_COUNT": _counts,
    "BATCH_ACCUMULATED_ELEMENT_COUNT": lambda shapes: np.cumsum(_counts(shapes)),
    "BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO": lambda shapes: np.cumsum([0, *_counts(shapes)]),
    "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE": lambda shapes: np.zeros(max(_counts(shapes)), dtype=np.int64),
    "BATCH_ITEM_SHAPE": _item_shapes,
    "BATCH_ITEM_SHAPE_FLATTEN": lambda shapes: _item_shapes(shapes).reshape(-1),
}


def split(configuration: ModelConfiguration, output: Tensor, array: Array, requests: Sequence[Inputs]) -> list[Array]:
    """Cut an output into views of it, one a request.

    Args:
        configuration: the model's.
        output: the output.
        array: its content for the whole batch. What is longer than the batch is cut off.
        requests: arrays by input name, a mapping a request.

    Raises:
        ShortOutputError: the output's first dimension is shorter than the batch or, where it is split by an input's
            shape, it has too few elements.
    """
    source = configuration.scattered.get(output.name)
    if source is not None:
        batch_dims = (-1,) if configuration.max_batch_size else ()
        shapes = [_fill((*batch_dims, *output.dims), request[source].shape) for request in requests]
        return list(_cut(output, "elements", array.reshape(-1), shapes))
    if configuration.max_batch_size == 0:
        return [array]
    first = configuration.inputs[0].name
    return list(_cut(output, "rows", array, [(request[first].shape[0], *array.shape[1:]) for request in requests]))


def _fill(dims: Shape, given: Shape) -> Shape:
    return tuple(given[place] if dim == -1 else dim for place, dim in enumerate(dims))


def _cut(output: Tensor, unit: str, array: Array, shapes: Sequence[Shape]) -> Iterator[Array]:
    sizes = [shape[0] if unit == "rows" else math.prod(shape) for shape in shapes]
    ends = list(itertools.accumulate(sizes))
    if len(array) < ends[-1]:
        raise ShortOutputError(
            f"output '{output.name}' has {len(array)} {unit} where the batch needs {ends[-1]}; the C++ backend would "
            f"{'answer the first requests alone' if unit == 'rows' else 'read past the tensor'}"
        )
    for size, end, shape in zip(sizes, ends, shapes, strict=True):
        yield array[end - size : end].reshape(shape)
