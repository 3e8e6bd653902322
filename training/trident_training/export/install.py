"""Puts an exported model into the model repository, whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

RECORD = "export.json"


class InstallError(ValueError):
    """The model does not fit the repository's configuration; the text says what differs."""


def install_model(module: torch.jit.ScriptModule, folder: Path, record: dict[str, Any]) -> None:
    """Write ``1/model.pt`` and, beside it, the record of how it was made.

    Args:
        module: the exported model.
        folder: the model's folder in the repository.
        record: what goes into ``1/export.json``; written last, so that a model without a record is stale.
    """
    with _replacing(folder / "1" / "model.pt") as draft:
        module.save(str(draft))
    install_text(folder / "1" / RECORD, json.dumps(record, indent=2) + "\n")


def install_text(file: Path, text: str) -> None:
    """Write a text file so that a reader sees the old one or the new one, never a part."""
    with _replacing(file) as draft:
        draft.write_text(text, encoding="utf-8")


def read_configuration(folder: Path) -> Any:
    """Return a model's ``config.pbtxt`` as Triton's own ``ModelConfig`` message."""
    return text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def check_width(folder: Path, width: int) -> None:
    """Raise InstallError unless the model's first output is configured ``width`` wide."""
    dims = list(read_configuration(folder).output[0].dims)
    if dims != [width]:
        raise InstallError(f"{folder.name}/config.pbtxt says its output has dims {dims}, the model answers [{width}]")


class _replacing:  # noqa: N801 - reads as a verb in a with statement
    def __init__(self, file: Path) -> None:
        self.file = file

    def __enter__(self) -> Path:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{self.file.name}-", dir=self.file.parent)
        os.close(handle)
        self.draft = Path(name)
        return self.draft

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            self.draft.chmod(0o644)
            self.draft.replace(self.file)
        else:
            self.draft.unlink(missing_ok=True)
