"""Compares an exported model with the plain Hugging Face model in float32, over every length and many batch sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from trident_training.export.packing import PADDING
from trident_training.export.precision import Precision

#: Batch sizes that are cycled through while sequences last.
BATCH_SIZES = (1, 2, 3, 5, 8, 13, 21, 34, 64)
#: Rows the plain model runs at a time, like lengths together.
REFERENCE_ROWS = 16


class ParityError(ValueError):
    """An export that does not answer as the plain model does; it must not be served."""


@dataclass(frozen=True)
class Tolerance:
    """How far an export may be from the plain float32 model.

    Attributes:
        difference: largest absolute difference of any output element.
        cosine: smallest cosine of an output row with the plain model's.
    """

    difference: float
    cosine: float


@dataclass(frozen=True)
class Parity:
    """What a comparison found.

    Attributes:
        sequences: sequences compared, every length from 1 to the longest among them.
        longest: tokens in the longest.
        largest_difference: largest absolute difference of any output element.
        smallest_cosine: smallest cosine of an output row with the plain model's.
    """

    sequences: int
    longest: int
    largest_difference: float
    smallest_cosine: float

    def check(self, tolerance: Tolerance) -> None:
        """Refuse a comparison outside ``tolerance``.

        Raises:
            ParityError: with what was found and what is accepted.
        """
        found = f"largest difference {self.largest_difference:.2g}, smallest cosine {self.smallest_cosine:.6f}"
        # Not "greater than": a NaN must fail too.
        if not (self.largest_difference <= tolerance.difference and self.smallest_cosine >= tolerance.cosine):
            raise ParityError(
                f"the export differs from the plain model: {found} over {self.sequences} sequences; accepted are a "
                f"difference up to {tolerance.difference:.2g} and a cosine from {tolerance.cosine:g}"
            )

    def as_dict(self) -> dict[str, float]:
        """Return the findings for a report."""
        return asdict(self)


#: Embeddings have unit norm; half precisions round their elements by about 0.4 % of the largest.
EMBEDDING_TOLERANCES = {
    Precision.FLOAT32: Tolerance(difference=1e-5, cosine=0.99999),
    Precision.BFLOAT16: Tolerance(difference=0.02, cosine=0.999),
    Precision.FLOAT16: Tolerance(difference=0.02, cosine=0.999),
}

#: Answers of the plain model for one rectangle: ``(ids int64 [n, L], mask int64 [n, L]) -> float32 [n, width]``.
Reference = Callable[[Tensor, Tensor], Tensor]
#: The exported entry: ``(INPUT_IDS int32 [sum(lengths)], ITEM_SHAPE int32 [n, 1]) -> float32 [n, width]``.
Exported = Callable[[Tensor, Tensor], Tensor]


def sample_sequences(vocabulary: int, avoid: int | None, longest: int, seed: int = 7) -> list[Tensor]:
    """Draw one random sequence of every length from 1 to ``longest``, in random order.

    Args:
        vocabulary: number of token ids.
        avoid: the padding id, which some models treat apart; never drawn.
        longest: tokens in the longest sequence.
        seed: of the draw.
    """
    generator = torch.Generator().manual_seed(seed)
    allowed = torch.tensor([each for each in range(vocabulary) if each != avoid])
    lengths = (torch.randperm(longest, generator=generator) + 1).tolist()
    return [allowed[torch.randint(len(allowed), (length,), generator=generator)] for length in lengths]


def compare(exported: Exported, reference: Reference, sequences: Sequence[Tensor]) -> Parity:
    """Run both over ``sequences``, the export in mixed batches of many sizes."""
    with torch.inference_mode():
        expected = _run_reference(reference, sequences)
        found = torch.cat([exported(*ragged(batch)) for batch in _batches(sequences)])
    return Parity(
        sequences=len(sequences),
        longest=max(len(each) for each in sequences),
        largest_difference=(found - expected).abs().max().item(),
        smallest_cosine=torch.cosine_similarity(found, expected, dim=1).min().item(),
    )


def ragged(batch: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Lay sequences out as Triton does: flat int32 ids and each item's length, every other item padded a little."""
    rows = [
        torch.nn.functional.pad(each, (0, (index % 4) * (index % 2)), value=PADDING) for index, each in enumerate(batch)
    ]
    return torch.cat(rows).to(torch.int32), torch.tensor([[len(each)] for each in rows], dtype=torch.int32)


def rectangle(batch: Sequence[Tensor], padding: int = 0) -> tuple[Tensor, Tensor]:
    """Lay sequences out as the plain model wants them: ids and mask, both int64 ``[n, longest]``."""
    ids = torch.nn.utils.rnn.pad_sequence(list(batch), batch_first=True, padding_value=padding)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(each) for each in batch], batch_first=True)
    return ids, mask


def _batches(sequences: Sequence[Tensor]) -> list[Sequence[Tensor]]:
    batches, start, turn = [], 0, 0
    while start < len(sequences):
        size = BATCH_SIZES[turn % len(BATCH_SIZES)]
        batches.append(sequences[start : start + size])
        start, turn = start + size, turn + 1
    return batches


def _run_reference(reference: Reference, sequences: Sequence[Tensor]) -> Tensor:
    order = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))
    answers: dict[int, Tensor] = {}
    for start in range(0, len(order), REFERENCE_ROWS):
        chosen = order[start : start + REFERENCE_ROWS]
        rows = reference(*rectangle([sequences[index] for index in chosen]))
        answers.update(zip(chosen, rows, strict=True))
    return torch.stack([answers[index] for index in range(len(sequences))])
