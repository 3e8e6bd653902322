"""JSON that stands beside a model's weights, whoever wrote it. Free of torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trident_training.checkpoints.errors import CheckpointError


def read_json(file: Path) -> Any:
    """Return what a file of JSON holds.

    Raises:
        CheckpointError: it cannot be read, or is no JSON.
    """
    try:
        return json.loads(file.read_text("utf-8"))
    except RecursionError as error:
        raise CheckpointError(f"{file} cannot be read: it is nested too deeply") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error


def read_object(file: Path) -> dict[str, Any]:
    """Return what a file of one JSON object holds.

    Raises:
        CheckpointError: it cannot be read, or holds something else.
    """
    content = read_json(file)
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} holds no JSON object")
    return content


def is_number(value: Any) -> bool:
    """Say whether a value of JSON's is a number that a float can be, and neither infinite nor none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300
