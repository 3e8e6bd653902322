"""Hugging Face encoders as TorchScript modules that take a packed batch: without padding, or padded where they must be.

Both kinds answer ``[T, hidden]`` for the same :class:`Packed` batch, so heads need not know which they stand on.
"""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from trident_training.checkpoints.positions import first_position, most_tokens
from trident_training.checkpoints.pruning import word_embeddings
from trident_training.export.attention import PACKED_ATTENTION
from trident_training.export.fusing import fuse_siblings
from trident_training.export.packing import Packed, fill_slots, pack
from trident_training.export.parity import rectangle
from trident_training.export.quantizing import halve_embeddings, quantize_linears
from trident_training.export.relative import adapt


class PackingError(ValueError):
    """An encoder that cannot run on a packed row; the text says why."""


class TracedEncoder(nn.Module):
    """A traced encoder, and what it has embeddings for.

    Anybody may ask a model directly, and what is beyond its tables would fail all that joined the batch, and a GPU for
    good: it is read as the last entry, and the head answers NaN to whoever sent it (``heads.strange_items``).

    Attributes:
        traced: the encoder.
        last_id: the highest token id.
        last_type: the highest token type.
        positions: tokens in the longest sequence.
    """

    def __init__(self, traced: torch.jit.ScriptModule, encoder: PreTrainedModel) -> None:
        super().__init__()
        self.traced = traced
        self.last_id = word_embeddings(encoder).num_embeddings - 1
        self.last_type = max(getattr(encoder.config, "type_vocab_size", 1), 1) - 1
        self.positions = most_tokens(encoder)


class PackedEncoder(TracedEncoder):
    """An encoder that runs on one row of sequences, and on next to nothing else."""

    def __init__(self, traced: torch.jit.ScriptModule, encoder: PreTrainedModel) -> None:
        super().__init__(traced, encoder)
        self.width = encoder.config.hidden_size

    def forward(self, ids: Tensor, types: Tensor, batch: Packed) -> Tensor:
        """Return the last hidden state, ``[R, hidden]``, of packed ids and token types, both int64 ``[R]``."""
        if ids.size(0) == 0:
            return torch.zeros([0, self.width], device=ids.device)
        row = fill_slots(ids.clamp(max=self.last_id), types.clamp(0, self.last_type), batch)
        hidden: Tensor = self.traced(row[0], row[1], row[2], batch.layout)
        return hidden.index_select(0, batch.slot)


class PaddedEncoder(TracedEncoder):
    """An encoder that runs on a rectangle padded to the longest sequence, for architectures that cannot be packed."""

    def __init__(self, traced: torch.jit.ScriptModule, encoder: PreTrainedModel) -> None:
        super().__init__(traced, encoder)
        self.padding_id = encoder.config.pad_token_id or 0

    def forward(self, ids: Tensor, types: Tensor, batch: Packed) -> Tensor:
        """Return the last hidden state, ``[T, hidden]``, of packed ids and token types, both int64 ``[T]``."""
        # One column at least: encoders divide and reshape by the length.
        longest = max(1, int(batch.counts.max().item()))
        shape = [batch.counts.size(0), longest]
        padded_ids = torch.full(shape, self.padding_id, dtype=torch.int64, device=ids.device)
        padded_types = torch.zeros(shape, dtype=torch.int64, device=ids.device)
        mask = torch.zeros(shape, dtype=torch.int64, device=ids.device)
        where: list[Tensor | None] = [batch.sequence, batch.position]
        padded_ids.index_put_(where, ids.clamp(max=self.last_id))
        padded_types.index_put_(where, types.clamp(0, self.last_type))
        mask.index_put_(where, torch.ones_like(ids))
        hidden: Tensor = self.traced(padded_ids, padded_types, mask)
        return hidden[batch.sequence, batch.position]


def packed_encoder(encoder: PreTrainedModel, sample: Sequence[Tensor] = ()) -> PackedEncoder:
    """Trace a copy of ``encoder`` over a packed row.

    Args:
        encoder: what is traced.
        sample: what it will read, int64 ``[length]`` each: linear layers multiply in int8, fitted to it, and the words'
            embeddings are kept in float16. Without, all is of the dtype of the encoder's weights.

    Raises:
        PackingError: the encoder makes its own positions or attention, so it would answer wrongly.
    """
    parameters = inspect.signature(encoder.forward).parameters
    encoder = copy.deepcopy(encoder)
    if not adapt(encoder):
        if "position_ids" not in parameters:
            raise PackingError(f"{type(encoder).__name__} takes no position_ids")
        _use_packed_attention(encoder)
    example = torch.tensor([7, 8, 9, 7, 8, -1, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16], dtype=torch.int64)
    batch = pack(example, torch.tensor([3, 3, 10]))
    ids = example[batch.source]
    arguments = (*fill_slots(ids, torch.zeros_like(ids), batch), batch.layout)
    call = _PackedCall(encoder, "token_type_ids" in parameters, "position_ids" in parameters)
    fuse_siblings(call, *arguments)
    if sample:
        batch = pack(torch.cat([*sample]), torch.tensor([len(each) for each in sample]))
        ids = torch.cat([*sample])[batch.source]
        quantize_linears(call, *fill_slots(ids, torch.zeros_like(ids), batch), batch.layout)
        halve_embeddings(encoder)
    return PackedEncoder(_trace(call, arguments), encoder)


def _use_packed_attention(encoder: PreTrainedModel) -> None:
    name = type(encoder).__name__
    try:
        encoder.set_attn_implementation(PACKED_ATTENTION)
    except ValueError as error:
        raise PackingError(f"{name} does not use transformers' attention interface: {error}") from error
    if encoder.config._attn_implementation != PACKED_ATTENTION:
        raise PackingError(f"{name} does not use transformers' attention interface")


def padded_encoder(encoder: PreTrainedModel, sample: Sequence[Tensor] = ()) -> PaddedEncoder:
    """Trace a copy of ``encoder`` over a padded rectangle; the arguments are :func:`packed_encoder`'s."""
    parameters = inspect.signature(encoder.forward).parameters
    ids = torch.tensor([[7, 8, 9, 10, 11], [7, 8, 9, 0, 0], [7, 8, 0, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]])
    encoder = copy.deepcopy(encoder)
    call = _PaddedCall(encoder, "token_type_ids" in parameters)
    if sample:
        rows, there = rectangle(sample, encoder.config.pad_token_id or 0)
        quantize_linears(call, rows, torch.zeros_like(rows), there)
        halve_embeddings(encoder)
    return PaddedEncoder(_trace(call, (ids, torch.zeros_like(ids), mask)), encoder)


class _PackedCall(nn.Module):
    def __init__(self, encoder: PreTrainedModel, takes_types: bool, takes_positions: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.takes_types, self.takes_positions = takes_types, takes_positions
        self.first_position = first_position(encoder)

    def forward(self, ids: Tensor, types: Tensor, position: Tensor, layout: Tensor) -> Tensor:
        further = {"token_type_ids": types.unsqueeze(0)} if self.takes_types else {}
        row = ids.unsqueeze(0)
        if self.takes_positions:
            further["position_ids"] = position.unsqueeze(0) + self.first_position
        hidden: Tensor = self.encoder(input_ids=row, attention_mask=layout, **further).last_hidden_state
        return hidden[0]


class _PaddedCall(nn.Module):
    def __init__(self, encoder: PreTrainedModel, takes_types: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.takes_types = takes_types

    def forward(self, ids: Tensor, types: Tensor, mask: Tensor) -> Tensor:
        further = {"token_type_ids": types} if self.takes_types else {}
        hidden: Tensor = self.encoder(input_ids=ids, attention_mask=mask, **further).last_hidden_state
        return hidden


def _trace(call: nn.Module, arguments: tuple[Tensor, ...]) -> torch.jit.ScriptModule:
    # The trace would be checked on the same shapes, and warns of branches that other shapes might take; the comparison
    # with the plain model covers all shapes instead.
    with torch.no_grad(), warnings.catch_warnings():
        # Documented, and missing in the list of what its module exports.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        traced: torch.jit.ScriptModule = torch.jit.trace(call.eval(), arguments, check_trace=False)
        return traced
