"""Joins requests into the arguments of one ``forward`` call and splits its outputs again.

Source of each kind's meaning: Triton's ragged batching page.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from trident_server.backends.pytorch.configuration import TORCH_TYPES, BatchTensor, ModelConfiguration, Tensor

Shape = Sequence[int]
Argument = torch.Tensor | list[str]


class OutputError(ValueError):
    """``forward`` answered in a form that cannot be sent on."""


class ContractError(OutputError):
    """An output is not of the configured type or shape; the fault lies in the request or the configuration."""


def join(tensor: Tensor, arrays: Sequence[npt.NDArray[np.generic]], device: torch.device) -> Argument:
    """Make one argument of an input's arrays, one array a request.

    Ragged inputs are flattened and concatenated to one dimension, others are concatenated on the batch dimension.
    Text becomes a ``List[str]``.
    """
    if tensor.data_type == "TYPE_STRING":
        return [text.decode() for array in arrays for text in array.reshape(-1)]
    if tensor.ragged:
        arrays = [array.reshape(-1) for array in arrays]
    joined = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    # Triton's buffers are read-only, and torch warns of that although inference does not write to its inputs.
    return torch.from_numpy(joined if joined.flags.writeable else joined.copy()).to(device)


def describe(batch_input: BatchTensor, shapes: Sequence[Shape], device: torch.device) -> torch.Tensor:
    """Make the argument for a ``batch_input``.

    Args:
        batch_input: which description of which input.
        shapes: the source input's shapes, one a request, batch dimension first.
        device: where the argument goes.

    Returns:
        Element counts, one a request (``BATCH_ELEMENT_COUNT``, ``BATCH_ACCUMULATED_ELEMENT_COUNT`` and, with a zero
        in front, ``BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO``); zeros as many as the longest request has elements
        (``BATCH_MAX_ELEMENT_COUNT_AS_SHAPE``); or every batch item's shape without the batch dimension, a row an item
        (``BATCH_ITEM_SHAPE``) or all in one row (``BATCH_ITEM_SHAPE_FLATTEN``).
    """
    return torch.tensor(BATCH_INPUTS[batch_input.kind](shapes), dtype=TORCH_TYPES[batch_input.data_type], device=device)


def _counts(shapes: Sequence[Shape]) -> list[int]:
    return [math.prod(shape) for shape in shapes]


def _item_shapes(shapes: Sequence[Shape]) -> list[list[int]]:
    return [list(shape[1:]) for shape in shapes for _ in range(shape[0])]


BATCH_INPUTS: Mapping[str, Callable[[Sequence[Shape]], list[int] | list[list[int]]]] = {
    "BATCH_ELEMENT_COUNT": _counts,
    "BATCH_ACCUMULATED_ELEMENT_COUNT": lambda shapes: list(itertools.accumulate(_counts(shapes))),
    "BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO": lambda shapes: list(itertools.accumulate(_counts(shapes), initial=0)),
    "BATCH_MAX_ELEMENT_COUNT_AS_SHAPE": lambda shapes: [0] * max(_counts(shapes)),
    "BATCH_ITEM_SHAPE": _item_shapes,
    "BATCH_ITEM_SHAPE_FLATTEN": lambda shapes: list(itertools.chain.from_iterable(_item_shapes(shapes))),
}


def flat_outputs(answer: object, count: int) -> list[Argument]:
    """Return ``forward``'s answer as a list of tensors and texts.

    Raises:
        OutputError: it is neither a tensor, a ``List[str]`` nor a flat tuple of those, or holds too few outputs.
    """
    outputs = list(answer) if isinstance(answer, tuple) else [answer]
    for output in outputs:
        text = isinstance(output, list) and all(isinstance(item, str) for item in output)
        if not text and not isinstance(output, torch.Tensor):
            raise OutputError(
                f"forward must return a tensor, a List[str] or a flat tuple of those, got {type(output).__name__}"
            )
    if len(outputs) < count:
        raise OutputError(f"forward returned {len(outputs)} outputs where the configuration names {count}")
    return outputs  # type: ignore[return-value]


def to_array(tensor: Tensor, output: Argument) -> npt.NDArray[np.generic]:
    """Return an output as an array of the configured type; text as an object array of UTF-8 bytes.

    Raises:
        ContractError: a scalar, or another type than configured.
    """
    if isinstance(output, list):
        if tensor.data_type != "TYPE_STRING":
            raise ContractError(f"output '{tensor.name}' is configured {tensor.data_type}, but forward returned text")
        return np.array([text.encode() for text in output], dtype=np.object_)
    if output.dim() == 0:
        raise ContractError(f"output '{tensor.name}' is a scalar; forward must return at least one dimension")
    if output.dtype != TORCH_TYPES.get(tensor.data_type):
        raise ContractError(
            f"output '{tensor.name}' is configured {tensor.data_type}, but forward returned {output.dtype}"
        )
    array: npt.NDArray[np.generic] = output.detach().cpu().contiguous().numpy()
    return array


def split(
    configuration: ModelConfiguration,
    tensor: Tensor,
    array: npt.NDArray[np.generic],
    batch_sizes: Sequence[int],
    input_shapes: Mapping[str, Sequence[Shape]],
) -> list[npt.NDArray[np.generic]]:
    """Cut one output into one array a request.

    Args:
        configuration: the model's.
        tensor: the output.
        array: all requests' output.
        batch_sizes: batch size of each request.
        input_shapes: by input name, the shapes of each request's input.

    Raises:
        OutputError: the output's first dimension is shorter than the batch, or a scattered output has too few
            elements for the input shapes it is split by.
    """
    if configuration.max_batch_size == 0:
        return [array]
    scatter = next((each for each in configuration.batch_outputs if each.name == tensor.name), None)
    if scatter is not None:
        return _scatter(tensor, array.reshape(-1), input_shapes[scatter.source])
    if array.shape[0] < sum(batch_sizes):
        raise OutputError(
            f"output '{tensor.name}' has first dimension {array.shape[0]}, shorter than the batch of {sum(batch_sizes)}"
        )
    if tensor.data_type == "TYPE_STRING":
        array = array.reshape(array.shape[0], *(1 for _ in tensor.dims))
    ends = list(itertools.accumulate(batch_sizes))
    return [array[end - size : end] for size, end in zip(batch_sizes, ends, strict=True)]


def _scatter(tensor: Tensor, flat: npt.NDArray[np.generic], shapes: Sequence[Shape]) -> list[npt.NDArray[np.generic]]:
    # The output's variable dimensions are those of the input at the same place, the batch dimension included.
    wanted = [
        [given if dim == -1 else dim for dim, given in zip((-1, *tensor.dims), shape, strict=False)] for shape in shapes
    ]
    ends = list(itertools.accumulate(math.prod(shape) for shape in wanted))
    if flat.size < ends[-1]:
        raise OutputError(
            f"output '{tensor.name}' has {flat.size} elements where the shapes it is split by need {ends[-1]}"
        )
    return [flat[end - math.prod(shape) : end].reshape(shape) for shape, end in zip(wanted, ends, strict=True)]
