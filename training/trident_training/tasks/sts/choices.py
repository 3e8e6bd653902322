"""What a fine-tuning on similarity has to choose. Free of torch, so that asking costs nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from trident_training.checkpoints.cleaning import Cleaning
from trident_training.checkpoints.pooling import Pooling
from trident_training.finetune.settings import SettingsError


class Kind(StrEnum):
    """How a model compares two sentences."""

    #: Each sentence's embedding, and their cosine (Reimers and Gurevych, Sentence-BERT, 2019).
    BI_ENCODER = "bi-encoder"
    #: Both sentences in one sequence, and the architecture's own regression head.
    CROSS_ENCODER = "cross-encoder"
    #: Both sentences in one sequence, and two linear layers on its first token.
    TWO_LAYERS = "two-layers"
    #: Both sentences in one sequence, and BERT's pretrained judgement whether the second follows the first.
    NEXT_SENTENCE = "next-sentence"


@dataclass(frozen=True)
class PairSettings:
    """What similarity has to decide beside :class:`~trident_training.finetune.settings.Settings`.

    Attributes:
        kind: how two sentences are compared.
        pooling: of a bi-encoder; the checkpoint's own when None.
        loss: ``mse`` or, for a bi-encoder, ``cosent``.
        primary: what the best epoch is chosen by: ``spearman``, ``pearson`` or ``f1``.
        cleaning: what is done to a text before it is cut into tokens; it becomes part of the tokenizer.
    """

    kind: Kind = Kind.BI_ENCODER
    pooling: Pooling | None = None
    loss: Literal["mse", "cosent"] = "mse"
    primary: str = "spearman"
    cleaning: Cleaning = Cleaning.NONE

    def __post_init__(self) -> None:
        if self.kind is not Kind.BI_ENCODER and (self.loss != "mse" or self.pooling is not None):
            raise SettingsError(f"pooling and the loss cosent are of a bi-encoder; {self.kind} takes neither")


#: What a sweep compares, by name: a bi-encoder's poolings under both losses, and what reads both sentences together.
HEADS = {
    "mean": PairSettings(pooling=Pooling.MEAN),
    "mean-cosent": PairSettings(pooling=Pooling.MEAN, loss="cosent"),
    "cls": PairSettings(pooling=Pooling.CLS),
    "cls-cosent": PairSettings(pooling=Pooling.CLS, loss="cosent"),
    "max": PairSettings(pooling=Pooling.MAX),
    "max-cosent": PairSettings(pooling=Pooling.MAX, loss="cosent"),
    "cross-encoder": PairSettings(Kind.CROSS_ENCODER),
    "two-layers": PairSettings(Kind.TWO_LAYERS),
    "next-sentence": PairSettings(Kind.NEXT_SENTENCE),
}
