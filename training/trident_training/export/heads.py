"""The entries that Triton calls: ragged token ids in, a task's answer out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trident_training.export.packing import mean_tokens, pack


class SentenceEmbedding(nn.Module):
    """Mean pooling over real tokens, then unit norm, both in float32 whatever the encoder's dtype.

    Source: Reimers and Gurevych, Sentence-BERT (2019), section 3.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, INPUT_IDS: Tensor, ITEM_SHAPE: Tensor) -> Tensor:  # noqa: N803 - Triton binds tensors by name
        """Embed a ragged batch: float32 ``[n, hidden]``, a zero row for an item without tokens.

        Args:
            INPUT_IDS: int32 ``[sum(lengths)]``, -1 where padded.
            ITEM_SHAPE: int32 ``[n, 1]``, each item's length.
        """
        batch = pack(INPUT_IDS, ITEM_SHAPE[:, 0])
        ids = INPUT_IDS[batch.source].to(torch.int64)
        hidden = self.encoder(ids, torch.zeros_like(ids), batch)
        return torch.nn.functional.normalize(mean_tokens(hidden, batch), dim=1)
