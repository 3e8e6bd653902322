"""One run on several processes, as ``torchrun`` starts them: who writes, and who waits.

The first one writes and prints. All see the same order of rows, and each takes its part of every batch, so that the
run is the one that a single process makes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from trident_training.finetune.settings import SettingsError

if TYPE_CHECKING:
    from torch import Tensor


def count() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Say whether this is the one that writes and prints."""
    return int(os.environ.get("RANK", "0")) == 0


def refuse_together(verb: str) -> None:
    """Refuse what one process does alone.

    Raises:
        SettingsError: several were started together.
    """
    if count() > 1:
        raise SettingsError(f"{count()} processes cannot {verb} as one; start each by itself, with the same --storage")


def wait_for_others() -> None:
    """Return when every process is here; at once where there is one. Joins them where that was not done yet."""
    if count() > 1:
        import torch
        from accelerate import PartialState

        PartialState(cpu=not torch.cuda.is_available()).wait_for_everyone()


def gathered(rows: Tensor) -> Tensor:
    """Return the rows ``[n, ...]`` of all processes, as many as each has; a gradient of them reaches whose they are."""
    if count() == 1:
        return rows
    import torch
    from torch.distributed.nn.functional import all_gather
    from torch.nn.functional import pad

    counts = torch.cat(all_gather(torch.tensor([len(rows)], device=rows.device))).tolist()
    if not any(counts):
        return rows
    # They are handed on in one shape.
    whole = all_gather(pad(rows, [0, 0] * (rows.dim() - 1) + [0, max(counts) - len(rows)]))
    return torch.cat([each[:number] for each, number in zip(whole, counts, strict=True)])


def leave() -> None:
    """Train with the others no more."""
    if count() > 1:
        from accelerate import PartialState

        PartialState().destroy_process_group()
