"""``trident-train export sts``: a sentence encoder into ``sts_encoder``, its tokenizer into ``sts_tokenizer``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, PreTrainedModel

from trident_training.export.install import check_width, install_model, install_text, read_configuration
from trident_training.export.packing import first_position
from trident_training.export.parity import compare
from trident_training.export.sentence import script_embedding


def export_sts(base: str, repository: Path, dtype: str, digest: str) -> dict[str, Any]:
    """Export a sentence encoder, compare it with the plain model, and install both models if it agrees.

    Args:
        base: hub name or local path of a Hugging Face encoder.
        repository: the model repository.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
        digest: of everything the export was made from; recorded.

    Returns:
        The record written beside the model.

    Raises:
        ParityError: the export's answers are outside the tolerance.
        InstallError: the encoder does not fit the configuration in the repository.
    """
    encoder_folder, tokenizer_folder = repository / "sts_encoder", repository / "sts_tokenizer"
    plain = AutoModel.from_pretrained(base, attn_implementation="sdpa").eval()
    check_width(encoder_folder, plain.config.hidden_size)
    longest = int(read_configuration(tokenizer_folder).parameters["max_length"].string_value)
    positions = plain.config.max_position_embeddings - first_position(plain)
    if longest > positions:
        raise ValueError(f"sts_tokenizer's max_length is {longest}, the encoder takes {positions} tokens")
    module = script_embedding(AutoModel.from_pretrained(base), getattr(torch, dtype))
    parity = compare(module, lambda ids, mask: mean_pooled(plain, ids, mask), plain.config.vocab_size, dtype, longest)
    record = {"digest": digest, "base": Path(base).name, "torch": torch.__version__, "parity": parity.check()}
    install_text(
        tokenizer_folder / "1" / "tokenizer.json", AutoTokenizer.from_pretrained(base).backend_tokenizer.to_str()
    )
    install_model(module, encoder_folder, record)
    return record


def mean_pooled(encoder: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Return unit-norm mean-pooled embeddings ``[n, hidden]`` of a plain, padded Hugging Face encoder."""
    hidden = encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
    weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
    return torch.nn.functional.normalize((hidden * weights).sum(1) / weights.sum(1), dim=1)
