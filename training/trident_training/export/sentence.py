"""The scripted entries that Triton calls: ragged token ids in, one row a sentence out."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from trident_training.export.packing import pack, trace_encoder


class SentenceEmbedding(nn.Module):
    """Mean pooling over real tokens, then unit norm: ``[n, hidden]`` float32.

    Pooling and norm run in float32 whatever the encoder's dtype. Source: Reimers and Gurevych, Sentence-BERT (2019),
    section 3.
    """

    def __init__(self, encoder: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, INPUT_IDS: Tensor, ITEM_SHAPE: Tensor) -> Tensor:  # noqa: N803 - bound to Triton's tensors by name
        """Embed a ragged batch.

        Args:
            INPUT_IDS: int32 ``[sum(lengths)]``, -1 where padded.
            ITEM_SHAPE: int32 ``[n, 1]``, each item's length.
        """
        tokens, sequence, position, _, layout = pack(INPUT_IDS, ITEM_SHAPE[:, 0])
        hidden = self.encoder(tokens, position, layout).to(torch.float32)
        sums = torch.zeros([ITEM_SHAPE.size(0), hidden.size(1)], dtype=torch.float32, device=hidden.device)
        # The mean's denominator falls out in the norm.
        sums.index_add_(0, sequence, hidden)
        return torch.nn.functional.normalize(sums, dim=1)


def script_embedding(encoder: PreTrainedModel, dtype: torch.dtype) -> torch.jit.ScriptModule:
    """Export an encoder as a :class:`SentenceEmbedding`, computing in ``dtype``, frozen for inference."""
    entry = SentenceEmbedding(trace_encoder(encoder.to(dtype)))
    return torch.jit.freeze(torch.jit.script(entry.eval()))
