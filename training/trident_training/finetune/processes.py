"""One run on several processes, as ``torchrun`` and ``accelerate launch`` start them: who writes, and who waits.

The first one writes and prints. All see the same order of rows, and each takes its part of every batch, so that the
run is the one that a single process makes.
"""

from __future__ import annotations

import os


def count() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Say whether this is the one that writes and prints."""
    return int(os.environ.get("RANK", "0")) == 0


def wait_for_others() -> None:
    """Return when every process is here; at once where there is one. Joins them where that was not done yet."""
    if count() > 1:
        import torch
        from accelerate import PartialState

        PartialState(cpu=not torch.cuda.is_available()).wait_for_everyone()


def leave() -> None:
    """Train with the others no more."""
    if count() > 1:
        from accelerate import PartialState

        PartialState().destroy_process_group()
