"""A task's data as it is learned from: splits, and what was noticed while reading them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from datasets import DatasetDict


@dataclass
class Splits(ABC):
    """A task's data.

    Attributes:
        splits: ``train`` is learned from and ``validation`` chosen by; ``test``, where there is one, is only reported.
        notes: what was left out or changed, and why.
    """

    splits: DatasetDict
    notes: list[str] = field(default_factory=list)

    @abstractmethod
    def digest(self, split: str) -> str:
        """Return SHA-256 over a split's rows: two scores may be compared where it is the same."""

    def summary(self) -> str:
        """Return what is worth saying of the reading, in a line; nothing where it is empty."""
        return ""
