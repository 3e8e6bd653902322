"""Compares an exported model with the plain Hugging Face model in float32, over many lengths and every batch size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from trident_training.export.packing import PADDING, PAIR

#: The largest batch Triton makes.
LARGEST_BATCH = 64
#: Length up to which sequences fill the batches of every size: short, for there are some two thousand of them.
SHORT = 12
#: Length up to which every one is compared; of longer ones each 17th is, which is odd so that no power of two hides.
EVERY_LENGTH, LENGTH_STEP = 64, 17
#: Of how many sequences one is a single text where pairs are read too.
SINGLES = 4
#: Rows the plain model runs at a time.
REFERENCE_ROWS = 32


class ParityError(ValueError):
    """An export that does not answer as the plain model does; it must not be served."""


@dataclass(frozen=True)
class Tolerance:
    """How far an export may be from the plain float32 model.

    Attributes:
        difference: largest absolute difference of any output element.
        cosine: smallest cosine of a sequence's answer with the plain model's.
        mean_difference: largest mean of the absolute differences.
        mean_cosine: smallest mean of the cosines.
    """

    difference: float
    cosine: float
    mean_difference: float = math.inf
    mean_cosine: float = -1.0


@dataclass(frozen=True)
class Parity:
    """What a comparison found.

    Attributes:
        sequences: sequences compared, short lengths all, the longest and every batch size among them.
        longest: tokens in the longest.
        largest_difference: largest absolute difference of any output element.
        smallest_cosine: smallest cosine of a sequence's answer with the plain model's.
        mean_difference: mean absolute difference of all output elements.
        mean_cosine: mean of the sequences' cosines.
    """

    sequences: int
    longest: int
    largest_difference: float
    smallest_cosine: float
    mean_difference: float
    mean_cosine: float

    def check(self, tolerance: Tolerance) -> None:
        """Refuse a comparison outside ``tolerance``.

        Raises:
            ParityError: with what was found and what is accepted.
        """
        # Not "greater than": a NaN must fail too.
        if not (
            self.largest_difference <= tolerance.difference
            and self.mean_difference <= tolerance.mean_difference
            and self.smallest_cosine >= tolerance.cosine
            and self.mean_cosine >= tolerance.mean_cosine
        ):
            raise ParityError(
                f"the export differs from the plain model: largest difference {self.largest_difference:.2g}, mean "
                f"{self.mean_difference:.2g}; smallest cosine {self.smallest_cosine:.6f}, mean {self.mean_cosine:.6f} "
                f"over {self.sequences} sequences. Accepted are differences up to {tolerance.difference:.2g}, mean "
                f"{tolerance.mean_difference:.2g}, cosines from {tolerance.cosine:g}, mean {tolerance.mean_cosine:g}"
            )

    def as_dict(self) -> dict[str, float]:
        """Return the findings for a report."""
        return asdict(self)


#: Answers of the plain model for one rectangle: ids, mask and token types, int64 ``[n, L]`` each, to one float32 tensor
#: a sequence, ``[width]`` or, for an answer a token, ``[length, width]``.
Reference = Callable[[Tensor, Tensor, Tensor], Iterable[Tensor]]
#: Answers of the export for a batch of sequences, int64 ``[length]`` each, with the mark of pairs where a second text
#: begins: the same, one after the other, float32 ``[rows, width]``.
Exported = Callable[[Sequence[Tensor]], Tensor]


def sample_batches(
    vocabulary: int, avoid: int | None, longest: int, seed: int = 7, *, pairs: bool = False
) -> list[list[Tensor]]:
    """Draw batches of random sequences: all short lengths and some longer ones mixed, and every batch size to 64.

    Args:
        vocabulary: number of token ids.
        avoid: the padding id, which some models treat apart; never drawn.
        longest: tokens in the longest sequence, which is among them.
        seed: of the draw.
        pairs: whether most are two texts, with the mark of pairs, which is no token, anywhere between them.
    """
    generator = torch.Generator().manual_seed(seed)
    allowed = torch.tensor([each for each in range(vocabulary) if each != avoid])
    lengths = torch.tensor([*range(1, min(EVERY_LENGTH, longest) + 1), *range(longest, EVERY_LENGTH, -LENGTH_STEP)])
    batches = list(lengths[torch.randperm(len(lengths), generator=generator)].split(LARGEST_BATCH))
    batches += [
        torch.randint(1, min(SHORT, longest) + 1, (size,), generator=generator) for size in range(1, LARGEST_BATCH)
    ]
    drawn = [
        [allowed[torch.randint(len(allowed), (length,), generator=generator)] for length in batch.tolist()]
        for batch in batches
    ]
    return [[_parted(each, generator) for each in batch] for batch in drawn] if pairs else drawn


def compare(exported: Exported, reference: Reference, batches: Sequence[Sequence[Tensor]]) -> Parity:
    """Run both over ``batches``; the export as they are, the plain model over sequences of like length."""
    sequences = [sequence for batch in batches for sequence in batch]
    with torch.inference_mode():
        expected = _run_reference(reference, sequences)
        found = torch.cat([exported(batch) for batch in batches]).split([len(each) for each in expected])
    pairs = list(zip(found, expected, strict=True))
    differences = torch.cat([(mine - plain).abs().flatten() for mine, plain in pairs])
    cosines = torch.stack([torch.cosine_similarity(mine.flatten(), plain.flatten(), dim=0) for mine, plain in pairs])
    return Parity(
        sequences=len(sequences),
        longest=max(tokens(each) for each in sequences),
        # Not the built-in max and min: they may pass over a NaN.
        largest_difference=differences.max().item(),
        smallest_cosine=cosines.min().item(),
        mean_difference=differences.mean().item(),
        mean_cosine=cosines.mean().item(),
    )


def ragged(batch: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Lay sequences out as Triton does: flat int32 ids and each item's length, every other item padded a little."""
    rows = [
        torch.nn.functional.pad(each, (0, (index % 4) * (index % 2)), value=PADDING) for index, each in enumerate(batch)
    ]
    return torch.cat(rows).to(torch.int32), torch.tensor([[len(each)] for each in rows], dtype=torch.int32)


def marked(ids: Sequence[int], types: Sequence[int]) -> list[int]:
    """Return ids as the served tokenizer lays them out: with the mark of pairs where their token types change."""
    if 1 not in types:
        return [*ids]
    place = types.index(1)
    return [*ids[:place], PAIR, *ids[place:]]


def split(sequence: Tensor) -> tuple[Tensor, Tensor]:
    """Return a sequence's tokens without the mark of pairs, and types, 1 behind it, else 0: int64 ``[tokens]``."""
    is_mark = sequence == PAIR
    return sequence[~is_mark], is_mark.cumsum(0)[~is_mark]


def tokens(sequence: Tensor) -> int:
    """Count a sequence's tokens, of which the mark of pairs is none."""
    return int((sequence != PAIR).sum())


def rectangle(batch: Sequence[Tensor], padding: int = 0) -> tuple[Tensor, Tensor]:
    """Lay sequences out as the plain model wants them: ids and mask, both int64 ``[n, longest]``."""
    ids = torch.nn.utils.rnn.pad_sequence(list(batch), batch_first=True, padding_value=padding)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(each) for each in batch], batch_first=True)
    return ids, mask


def _run_reference(reference: Reference, sequences: Sequence[Tensor]) -> list[Tensor]:
    parts = [split(each) for each in sequences]
    order = sorted(range(len(parts)), key=lambda index: len(parts[index][0]))
    answers: dict[int, Tensor] = {}
    for start in range(0, len(order), REFERENCE_ROWS):
        chosen = order[start : start + REFERENCE_ROWS]
        ids, types = zip(*(parts[index] for index in chosen), strict=True)
        rows = reference(*rectangle(ids), rectangle(types)[0])
        answers.update(zip(chosen, rows, strict=True))
    return [answers[index].reshape(-1, answers[index].shape[-1]) for index in range(len(sequences))]


def _parted(sequence: Tensor, generator: torch.Generator) -> Tensor:
    """Return a sequence with the mark of pairs somewhere in it, or, now and then, as it is."""
    if len(sequence) == 1 or torch.randint(SINGLES, (), generator=generator) == 0:
        return sequence
    place = int(torch.randint(1, len(sequence), (), generator=generator))
    return torch.cat([sequence[:place], torch.tensor([PAIR]), sequence[place:]])
