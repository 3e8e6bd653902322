"""Where a search looks for hyper-parameters. Free of torch, so that asking costs nothing."""

from __future__ import annotations

from dataclasses import dataclass

from trident_training.finetune.settings import SettingsError


@dataclass(frozen=True)
class Space:
    """Where to search.

    Attributes:
        learning_rate: least and greatest, drawn on a logarithmic scale.
        weight_decay: the same.
        batch_sizes: to choose from.
        most_epochs: from 1 to which.
    """

    learning_rate: tuple[float, float] = (1e-5, 1e-3)
    weight_decay: tuple[float, float] = (4e-5, 1e-3)
    batch_sizes: tuple[int, ...] = (16, 32, 64)
    most_epochs: int = 4

    def __post_init__(self) -> None:
        for name in ("learning_rate", "weight_decay"):
            low, high = getattr(self, name)
            if not 0 < low < high < 1:
                raise SettingsError(
                    f"{name} from {low:g} to {high:g} cannot be searched; 0 < from < to < 1 is accepted"
                )
