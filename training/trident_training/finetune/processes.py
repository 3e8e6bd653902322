"""One run on several processes, as ``torchrun`` and ``accelerate launch`` start them: who writes, and who waits.

The first one writes and prints. All see the same order of rows, and each takes its part of every batch, so that the
run is the one that a single process makes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import torch
from torch.utils.data import BatchSampler, Sampler
from transformers.trainer_pt_utils import BatchRebalanceSampler


def count() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Say whether this is the one that writes and prints."""
    return int(os.environ.get("RANK", "0")) == 0


def wait_for_others() -> None:
    """Return when every process is here; at once where there is one. Joins them where that was not done yet."""
    if count() > 1:
        from accelerate import PartialState

        PartialState(cpu=not torch.cuda.is_available()).wait_for_everyone()


def leave() -> None:
    """Train with the others no more."""
    if count() > 1:
        from accelerate import PartialState

        PartialState().destroy_process_group()


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
        self, rows: Sampler[int], size: int, process: int, processes: int, epoch: Callable[[], int] = lambda: 0
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
        if hasattr(self._rows, "set_epoch"):
            self._rows.set_epoch(self._epoch())
        for batch in self._batches:
            yield batch[self._process :: self._processes] or [batch[self._process % len(batch)]]
