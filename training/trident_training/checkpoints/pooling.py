"""How a sentence encoder makes one vector of its tokens' vectors, as sentence-transformers writes it down.

Free of torch and transformers until a checkpoint is read, so that the command line costs nothing.
"""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trident_training.checkpoints import notes

if TYPE_CHECKING:
    from torch import Tensor

FILE = "1_Pooling/config.json"
MODULES = "modules.json"
#: Parts of a sentence-transformers model that an export computes; by the last part of their type.
SUPPORTED = {"Transformer", "Pooling", "Normalize"}


class Pooling(StrEnum):
    """What is taken of the tokens' vectors; the values are sentence-transformers' names."""

    MEAN = "mean"
    CLS = "cls"
    MAX = "max"

    def of_padded(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Pool a padded rectangle.

        Args:
            hidden: ``[n, L, width]``.
            mask: ``[n, L]``, 0 where padded.

        Returns:
            ``[n, width]``.
        """
        if self is Pooling.CLS:
            return hidden[:, 0]
        real = mask.unsqueeze(2).to(hidden.dtype)
        if self is Pooling.MAX:
            return hidden.masked_fill(real == 0, float("-inf")).amax(1)
        return (hidden * real).sum(1) / real.sum(1)

    def write(self, folder: Path, width: int) -> None:
        """Write the pooling of a checkpoint whose embeddings are ``width`` wide."""
        content = {"word_embedding_dimension": width} | {
            f"pooling_mode_{name}": self is mode
            for name, mode in (("cls_token", Pooling.CLS), ("mean_tokens", Pooling.MEAN), ("max_tokens", Pooling.MAX))
        }
        file = folder / FILE
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content, indent=2) + "\n")


def pooling_of(checkpoint: str) -> Pooling:
    """Return the pooling that a checkpoint was trained with; the mean where it does not say.

    Args:
        checkpoint: local path or hub name.

    Raises:
        ValueError: it pools in a way, or goes on after pooling in a way, that an export does not compute.
    """
    parts = read_json(checkpoint, MODULES)
    if parts is None:
        return Pooling.MEAN
    try:
        foreign = [part["type"] for part in parts if part["type"].rpartition(".")[2] not in SUPPORTED]
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{MODULES} of {checkpoint} is no list of modules: {error}") from error
    if foreign:
        raise ValueError(f"{checkpoint} has {', '.join(foreign)}; {', '.join(sorted(SUPPORTED))} are exported")
    config = read_json(checkpoint, FILE) or {}
    flags = [name.removeprefix("pooling_mode_") for name in config if name.startswith("pooling_mode_") and config[name]]
    found = [name.removesuffix("_tokens").removesuffix("_token") for name in flags]
    # Since sentence-transformers 6 the name stands alone.
    found = found or [config.get("pooling_mode", Pooling.MEAN)]
    if len(found) > 1 or found[0] not in set(Pooling):
        raise ValueError(f"{checkpoint} pools by {' and '.join(found)}; one of {', '.join(Pooling)} is exported")
    return Pooling(found[0])


def read_json(checkpoint: str, name: str) -> Any:
    """Return a JSON file of a checkpoint, which is a local path or a hub name; None where it has no such file."""
    if Path(checkpoint).is_dir():
        local = Path(checkpoint) / name
        return notes.read_json(local) if local.is_file() else None
    # Heavy, and of no use for a folder.
    from transformers.utils.hub import cached_file

    file = cached_file(
        checkpoint,
        name,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if file is None else notes.read_json(Path(file))
