"""What a task puts on an encoder: the entry that Triton calls, and the plain model it must answer like."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from trident_training.export.packing import first_tokens, mean_tokens, pack
from trident_training.export.parity import Reference, Tolerance
from trident_training.export.precision import Precision

#: The label that CoLA and its kind give an acceptable sentence.
ACCEPTABLE = 1


@dataclass(frozen=True)
class Head:
    """A task's head on an encoder.

    Attributes:
        encoder: the plain encoder below the head, in float32.
        entry: makes the module Triton calls of a packed or padded encoder.
        plain: what the entry must answer like.
        width: last dimension of the answer.
        tolerances: how far the answer may be off, by what it is computed in.
    """

    encoder: PreTrainedModel
    entry: Callable[[nn.Module], nn.Module]
    plain: Reference
    width: int
    tolerances: Mapping[Precision, Tolerance]


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


class SequenceProbability(nn.Module):
    """A sequence classifier's probability of one label; head and softmax in float32 whatever the encoder's dtype."""

    def __init__(self, encoder: nn.Module, head: nn.Module, label: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.label = label

    def forward(self, INPUT_IDS: Tensor, ITEM_SHAPE: Tensor) -> Tensor:  # noqa: N803 - Triton binds tensors by name
        """Classify a ragged batch: float32 ``[n, 1]``; arguments as :meth:`SentenceEmbedding.forward` takes them."""
        batch = pack(INPUT_IDS, ITEM_SHAPE[:, 0])
        ids = INPUT_IDS[batch.source].to(torch.int64)
        hidden = self.encoder(ids, torch.zeros_like(ids), batch)
        logits = self.head(first_tokens(hidden, batch).to(torch.float32))
        return torch.softmax(logits, dim=1)[:, self.label : self.label + 1]


def embedding_head(encoder: PreTrainedModel) -> Head:
    """Return mean pooling and unit norm on ``encoder``."""

    def plain(ids: Tensor, mask: Tensor) -> Tensor:
        hidden = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(2).to(hidden.dtype)
        return nn.functional.normalize((hidden * weights).sum(1) / weights.sum(1), dim=1)

    tolerances = {
        Precision.FLOAT32: Tolerance(difference=1e-5, cosine=0.99999),
        Precision.BFLOAT16: Tolerance(difference=0.02, cosine=0.999),
        Precision.FLOAT16: Tolerance(difference=0.02, cosine=0.999),
    }
    return Head(encoder, SentenceEmbedding, plain, encoder.config.hidden_size, tolerances)


def probability_head(model: PreTrainedModel, label: int = ACCEPTABLE) -> Head:
    """Return the probability of ``label`` by an ``AutoModelForSequenceClassification`` that looks at the first token.

    Raises:
        ValueError: the model has no such label.
    """
    if model.config.num_labels <= label:
        raise ValueError(
            f"{type(model).__name__} has {model.config.num_labels} label(s), and label {label} is asked for"
        )
    example = torch.zeros([3, model.config.hidden_size])
    with torch.no_grad():
        head = torch.jit.trace(_FirstTokenHead(model).eval(), (example,), check_trace=False)

    def plain(ids: Tensor, mask: Tensor) -> Tensor:
        logits = model(input_ids=ids, attention_mask=mask).logits
        return torch.softmax(logits, dim=1)[:, label : label + 1]

    tolerances = {
        Precision.FLOAT32: Tolerance(difference=1e-5, cosine=0.99999),
        Precision.BFLOAT16: Tolerance(difference=0.05, cosine=0.999),
        Precision.FLOAT16: Tolerance(difference=0.05, cosine=0.999),
    }
    return Head(model.base_model, lambda encoder: SequenceProbability(encoder, head, label), plain, 1, tolerances)


class _FirstTokenHead(nn.Module):
    """The classifier above its encoder: the model itself, run on a stand-in that returns given first tokens.

    So every architecture's own head is used as it is; one that looks beyond the first token fails its comparison.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        self.stand_in = _StandIn(self.model.base_model)
        setattr(self.model, model.base_model_prefix, self.stand_in)

    def forward(self, first: Tensor) -> Tensor:
        self.stand_in.hidden = first.unsqueeze(1)
        ids = torch.zeros([1, 1], dtype=torch.int64).expand(first.size(0), 1)
        return self.model(input_ids=ids).logits


class _StandIn(nn.Module):
    def __init__(self, encoder: PreTrainedModel) -> None:
        super().__init__()
        self.pooler = getattr(encoder, "pooler", None)
        # ALBERT keeps the parts of its pooler apart.
        self.activation = getattr(encoder, "pooler_activation", None)
        self.hidden: Tensor | None = None

    def forward(self, *_: object, **__: object) -> BaseModelOutputWithPooling:
        pooled = None
        if self.activation is not None:
            pooled = self.activation(self.pooler(self.hidden[:, 0]))
        elif self.pooler is not None:
            pooled = self.pooler(self.hidden)
        return BaseModelOutputWithPooling(last_hidden_state=self.hidden, pooler_output=pooled)
