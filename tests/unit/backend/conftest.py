"""Configurations in Triton's JSON form, as a stub receives them."""

from collections.abc import Callable
from typing import Any

import pytest
from trident_server.backends.pytorch.configuration import ModelConfiguration


@pytest.fixture
def config() -> dict[str, Any]:
    """One ragged input, one output."""
    return {
        "name": "small",
        "max_batch_size": 4,
        "default_model_filename": "",
        "input": [{"name": "X", "data_type": "TYPE_FP32", "dims": [-1], "allow_ragged_batch": True}],
        "output": [{"name": "Y", "data_type": "TYPE_FP32", "dims": [-1]}],
        "batch_input": [],
        "batch_output": [],
        "instance_group": [{"count": 1, "gpus": [], "kind": "KIND_CPU"}],
        "parameters": {},
    }


@pytest.fixture
def configure(config: dict[str, Any]) -> Callable[..., ModelConfiguration]:
    """Parses ``config`` with some of its fields replaced."""
    return lambda **changes: ModelConfiguration.parse({**config, **changes})
