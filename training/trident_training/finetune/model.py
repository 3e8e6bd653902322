"""What the trainer trains: a model of transformers, or a module of the project's own around one."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from torch import nn
from transformers import PreTrainedModel


class WrappedModel(nn.Module):
    """A module around a model of transformers, with what the trainer asks of those.

    Attributes:
        base_model_prefix: name of the attribute below, as models of transformers have it.
        encoder: the model of transformers.
        config: its configuration.
    """

    base_model_prefix: ClassVar[str] = "encoder"

    def __init__(self, encoder: PreTrainedModel) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = encoder.config

    def get_input_embeddings(self) -> nn.Module:
        """Return the encoder's word embeddings."""
        return self.encoder.get_input_embeddings()

    def set_attn_implementation(self, name: str) -> None:
        """Choose the encoder's attention."""
        self.encoder.set_attn_implementation(name)

    def save_pretrained(self, folder: Path) -> None:
        """Write the encoder into a folder; what else is to be kept, a subclass adds."""
        self.encoder.save_pretrained(folder)


TrainedModel = PreTrainedModel | WrappedModel
