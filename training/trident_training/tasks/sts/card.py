"""What a fine-tuning on similarity notes beside its weights. Free of torch: ``make models`` reads it every time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from trident_training.checkpoints.notes import is_number, read_object
from trident_training.checkpoints.pooling import Pooling
from trident_training.tasks.sts.choices import Kind

FILE = "similarity.json"


@dataclass(frozen=True)
class SimilarityCard:
    """What stands beside a similarity model's weights.

    Attributes:
        kind: how it compares.
        pooling: a bi-encoder's; None where the checkpoint itself says it.
        threshold: similarity from which two sentences are called similar; None before it is known.
        languages: BCP 47 tags of the languages that it was trained on.
        metrics: what it scored on its validation set.
    """

    kind: Kind = Kind.BI_ENCODER
    pooling: Pooling | None = None
    threshold: float | None = None
    languages: tuple[str, ...] = ()
    metrics: Mapping[str, float] | None = None

    @classmethod
    def read(cls, folder: Path) -> SimilarityCard:
        """Read a folder's card; the default one where there is none, as in any sentence-transformers checkpoint.

        Raises:
            ValueError: it cannot be read.
        """
        file = folder / FILE
        if not file.is_file():
            return cls()
        content = read_object(file)
        try:
            card = cls(
                Kind(content["kind"]),
                Pooling(content["pooling"]) if content["pooling"] else None,
                content["threshold"],
                tuple(content["languages"]),
                content["metrics"],
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file} is no similarity card: {error}") from error
        if not (card.threshold is None or is_number(card.threshold)):
            raise ValueError(f"{file} is no similarity card: its threshold is no number")
        if not isinstance(content["languages"], list) or not all(isinstance(each, str) for each in card.languages):
            raise ValueError(f"{file} is no similarity card: its languages are no list of tags")
        if not (
            card.metrics is None or (isinstance(card.metrics, dict) and all(map(is_number, card.metrics.values())))
        ):
            raise ValueError(f"{file} is no similarity card: its metrics are no numbers by their names")
        return card

    def write(self, folder: Path) -> None:
        """Write the card into a folder."""
        (folder / FILE).write_text(json.dumps(asdict(self), indent=2) + "\n")
