"""Reads models' configurations as Triton's own message: however one is written, it means what Triton reads in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def read(file: Path) -> Any:
    """Return a file's message, a ``ModelConfig``; None where it cannot be read as one, which is Triton's to refuse."""
    try:
        return parse(file.read_text("utf-8"))
    except UnicodeDecodeError:
        return None


def parse(text: str) -> Any:
    """Return a text's message, a ``ModelConfig``; None where it is none."""
    # Here and not above: it brings gRPC, which most commands do without.
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    try:
        return text_format.Parse(text, model_config_pb2.ModelConfig())
    except text_format.ParseError:
        return None


def written(configuration: Any) -> str:
    """Return a message as text that Triton reads."""
    from google.protobuf import text_format

    return str(text_format.MessageToString(configuration, as_utf8=True))
