"""How fast an exported network is, on the machine that exported it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from trident_server.machine import processor

#: Tokens of the sequences that are measured in one batch: so many are a second's work of a base encoder on slow cores.
LENGTHS = range(4, 65, 4)
#: Runs that the median is of, and after how many seconds fewer are enough.
MOST_RUNS, LEAST_RUNS, SECONDS = 9, 3, 2.0


@dataclass(frozen=True)
class Speed:
    """What was measured: the network alone, in PyTorch, without Triton, tokenizer or a backend's prepacking.

    Attributes:
        sequences: in the batch.
        tokens: of all of them.
        seconds: that the batch took, the median of a few runs.
        threads: that PyTorch computed with.
        processor: its model's name.
    """

    sequences: int
    tokens: int
    seconds: float
    threads: int
    processor: str

    def as_dict(self) -> dict[str, float | str]:
        """Return the findings for a report."""
        return {
            "sequences_per_second": round(self.sequences / self.seconds, 1),
            "tokens_per_second": round(self.tokens / self.seconds),
            "sequences": self.sequences,
            "tokens": self.tokens,
            "threads": self.threads,
            "processor": self.processor,
        }


def measure(call: Callable[[Sequence[Tensor]], object], batch: Sequence[Tensor]) -> Speed:
    """Run a network on a batch of sequences a few times, for two seconds at most where three runs take no longer.

    Args:
        call: runs it.
        batch: token ids, int64 ``[length]`` each.
    """
    times: list[float] = []
    with torch.inference_mode():
        call(batch)
        while len(times) < MOST_RUNS and (len(times) < LEAST_RUNS or sum(times) < SECONDS):
            began = time.perf_counter()
            call(batch)
            times.append(time.perf_counter() - began)
    return Speed(len(batch), sum(map(len, batch)), statistics.median(times), torch.get_num_threads(), processor())
