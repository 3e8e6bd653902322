"""One export from end to end: trace, compare, and install the result or refuse to."""

from __future__ import annotations

import copy
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from trident_training.export.checkpoint import PlainEmbedding
from trident_training.export.encoders import PackingError, most_tokens, packed_encoder, padded_encoder
from trident_training.export.heads import SentenceEmbedding
from trident_training.export.parity import (
    EMBEDDING_TOLERANCES,
    Parity,
    ParityError,
    Tolerance,
    compare,
    sample_sequences,
)
from trident_training.export.precision import Precision
from trident_training.repository import ModelSet

#: Length of the sequences on which a packed encoder proves that it fits.
TRIAL_TOKENS = 24


@dataclass(frozen=True)
class Export:
    """An exported model that passed its comparison.

    Attributes:
        module: frozen TorchScript.
        width: last dimension of its output.
        precision: what it computes in.
        padded_because: why it computes padding; None for a packed model.
        parity: the comparison with the plain model.
        tolerance: what the comparison was held to.
    """

    module: torch.jit.ScriptModule
    width: int
    precision: Precision
    padded_because: str | None
    parity: Parity
    tolerance: Tolerance

    def report(self) -> dict[str, Any]:
        """Return the findings in the form that stands beside the model."""
        return {
            "dtype": self.precision.value,
            "width": self.width,
            "packed": self.padded_because is None,
            "padded_because": self.padded_because,
            "parity": self.parity.as_dict(),
            "tolerance": {"difference": self.tolerance.difference, "cosine": self.tolerance.cosine},
        }


def export_embedding(encoder: PreTrainedModel, precision: Precision, max_tokens: int) -> Export:
    """Export a sentence encoder with mean pooling and unit norm.

    Args:
        encoder: the plain model, in float32; left as it is.
        precision: a resolved one, not ``auto``.
        max_tokens: longest sequence that will be served.

    Raises:
        ParityError: the export answers differently from the plain model.
        ValueError: the encoder has no positions for ``max_tokens``.
    """
    if max_tokens > most_tokens(encoder):
        raise ValueError(f"the encoder takes {most_tokens(encoder)} tokens, and max_length asks for {max_tokens}")
    plain = PlainEmbedding(encoder)
    build, reason = _choose(encoder, plain)
    module = _freeze(SentenceEmbedding(build(_converted(encoder, precision))))
    tolerance = EMBEDDING_TOLERANCES[precision]
    parity = compare(module, plain, _sequences(encoder, max_tokens))
    parity.check(tolerance)
    return Export(module, encoder.config.hidden_size, precision, reason, parity, tolerance)


def install(export: Export, tokenizer: str, target: ModelSet, facts: dict[str, Any]) -> None:
    """Write model, tokenizer and report, each in one step, the report last: without it the rest counts as missing.

    Args:
        export: what to install.
        tokenizer: the tokenizer in the Rust library's JSON form.
        target: where to.
        facts: further entries of the report.
    """
    _replace(target.network_file, lambda draft: export.module.save(str(draft)))
    _replace(target.tokenizer_file, lambda draft: draft.write_text(tokenizer))
    report = facts | export.report() | {"model_bytes": target.network_file.stat().st_size}
    _replace(target.report_file, lambda draft: draft.write_text(json.dumps(report, indent=2) + "\n"))


def _choose(encoder: PreTrainedModel, plain: nn.Module) -> tuple[Callable[[PreTrainedModel], nn.Module], str | None]:
    """Return how to trace this encoder, and why padding is computed where it is."""
    try:
        trial = _freeze(SentenceEmbedding(packed_encoder(encoder)))
        compare(trial, plain, _sequences(encoder, TRIAL_TOKENS)).check(EMBEDDING_TOLERANCES[Precision.FLOAT32])
    except (PackingError, ParityError) as error:
        return padded_encoder, str(error)
    return packed_encoder, None


def _sequences(encoder: PreTrainedModel, longest: int) -> list[torch.Tensor]:
    return sample_sequences(encoder.config.vocab_size, encoder.config.pad_token_id, longest)


def _converted(encoder: PreTrainedModel, precision: Precision) -> PreTrainedModel:
    dtype = getattr(torch, precision.value)
    return encoder if dtype is torch.float32 else copy.deepcopy(encoder).to(dtype)


def _freeze(entry: nn.Module) -> torch.jit.ScriptModule:
    return torch.jit.freeze(torch.jit.script(entry.eval()))


def _replace(file: Path, write: Callable[[Path], object]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    os.close(handle)
    draft = Path(name)
    try:
        write(draft)
        # Triton may run as another user than the one who exports.
        draft.chmod(0o644)
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
