"""Configurations in Triton's JSON form, as a stub receives them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
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


@pytest.fixture(autouse=True)
def _settings_of_the_process():
    threads, cudnn = torch.get_num_threads(), torch.backends.cudnn.enabled
    executor, profiling = torch._C._jit_set_profiling_executor(True), torch._C._jit_set_profiling_mode(True)
    fuser = torch._C._jit_texpr_fuser_enabled()
    yield
    torch.set_num_threads(threads)
    torch.backends.cudnn.enabled = cudnn
    torch._C._jit_set_profiling_executor(executor)
    torch._C._jit_set_profiling_mode(profiling)
    torch._C._jit_set_texpr_fuser_enabled(fuser)
