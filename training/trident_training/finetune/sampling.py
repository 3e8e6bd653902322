"""In which order rows are trained on, and which process takes which."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch.utils.data import BatchSampler
from transformers.trainer_pt_utils import BatchRebalanceSampler, LengthGroupedSampler


class EpochLengthSampler(LengthGroupedSampler):
    """Puts rows of like length into one batch, in an order drawn anew for every epoch."""

    def __init__(self, batch_size: int, lengths: list[int], seed: int) -> None:
        super().__init__(batch_size, lengths=lengths)
        self._seed, self._epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Take the order of this epoch; the data loader calls it."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._epoch)
        order: Iterator[int] = super().__iter__()  # type: ignore[no-untyped-call]
        return order


class PartOfEachBatch(BatchRebalanceSampler):
    """The rows of each batch that one process takes: each row is one process' alone, but where they are too few.

    It is a ``BatchRebalanceSampler`` to the trainer alone, which lets those divide batches among processes themselves.

    Args:
        rows: the order of all rows, the same in every process.
        size: rows in a batch of all processes.
        process: which takes the rows, from 0.
        processes: how many there are.
        epoch: the epoch that is begun, which ``rows`` is told.
    """

    def __init__(
        self, rows: EpochLengthSampler, size: int, process: int, processes: int, epoch: Callable[[], int] = lambda: 0
    ) -> None:
        self._rows, self._process, self._processes, self._epoch = rows, process, processes, epoch
        self._batches = BatchSampler(rows, size, drop_last=False)
        self.drop_last = False

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: a resumed run's loader does not call this, so that the epoch is asked for."""

    def __len__(self) -> int:
        """Return how many batches there are."""
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the process' rows of each batch, at least one."""
        self._rows.set_epoch(self._epoch())
        for batch in self._batches:
            yield batch[self._process :: self._processes] or [batch[self._process % len(batch)]]
