"""Does the exported model answer as the plain Hugging Face model in float32 does?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

Reference = Callable[[Tensor, Tensor], Tensor]

# Largest absolute difference, and smallest cosine, that an export may show and still be installed.
TOLERANCES = {"float32": (1e-5, 0.99999), "float16": (5e-3, 0.9999), "bfloat16": (2e-2, 0.999)}
LONGEST = 256
LARGEST_BATCH = 64


class ParityError(ValueError):
    """The exported model's answers are too far from the reference's; it is not installed."""


@dataclass(frozen=True)
class Parity:
    """What the comparison found.

    Attributes:
        dtype: the dtype the exported model computes in.
        sequences: how many sequences were compared.
        largest_difference: largest absolute difference of any output element.
        smallest_cosine: smallest cosine between any two rows of outputs; 1 for outputs of one element.
    """

    dtype: str
    sequences: int
    largest_difference: float
    smallest_cosine: float

    def check(self) -> dict[str, float | int | str]:
        """Return the figures as a dictionary.

        Raises:
            ParityError: they lie outside the tolerance of ``dtype``.
        """
        difference, cosine = TOLERANCES[self.dtype]
        # Written so that NaN fails as well.
        if not (self.largest_difference <= difference and self.smallest_cosine >= cosine):
            raise ParityError(
                f"not installed: in {self.dtype} the export differs from the float32 reference by up to "
                f"{self.largest_difference:.2g} (at most {difference:g} is accepted), with cosine "
                f"{self.smallest_cosine:.6f} (at least {cosine:g})"
            )
        return asdict(self)


def compare(
    exported: torch.jit.ScriptModule, reference: Reference, vocabulary: int, dtype: str, longest: int = LONGEST
) -> Parity:
    """Compare an exported model with its reference over random sequences.

    Every length from 1 to ``longest`` occurs, and every batch size from 1 to 64, lengths mixed.

    Args:
        exported: takes ragged ``INPUT_IDS`` and ``ITEM_SHAPE``, answers ``[n, width]``.
        reference: takes padded int64 ``input_ids [n, L]`` and ``attention_mask [n, L]``, answers ``[n, width]``.
        vocabulary: token ids are drawn below this.
        dtype: the dtype ``exported`` computes in.
        longest: the longest sequence.
    """
    largest, smallest, sequences = 0.0, 1.0, 0
    with torch.inference_mode():
        for lengths in batches(longest):
            width = int(lengths.max())
            ids = torch.randint(1, vocabulary, (len(lengths), width))
            mask = torch.arange(width) < lengths.unsqueeze(1)
            want = reference(ids, mask.long())
            flat = torch.where(mask, ids, -1).reshape(-1).to(torch.int32)
            got = exported(flat, torch.full((len(lengths), 1), width, dtype=torch.int32))
            largest = max(largest, float((got - want).abs().max()))
            if want.size(1) > 1:
                smallest = min(smallest, float(torch.nn.functional.cosine_similarity(got, want).min()))
            sequences += len(lengths)
            if not torch.isfinite(got).all():
                largest = float("nan")
                break
    return Parity(dtype, sequences, largest, smallest)


def batches(longest: int = LONGEST, seed: int = 0) -> Iterator[Tensor]:
    """Yield the lengths of each batch to compare, int64 ``[n]``; the draws are fixed by ``seed``."""
    torch.manual_seed(seed)
    yield from torch.randperm(longest).add(1).split(LARGEST_BATCH)
    for size in range(1, LARGEST_BATCH + 1):
        yield torch.randint(1, min(longest, 32) + 1, (size,))
