"""The form that is nearest to the container's: what the image does differently, without the image."""

from __future__ import annotations

import re
from pathlib import Path

from google.protobuf import text_format
from trident_server.process import TritonProcess
from tritonclient.grpc.model_config_pb2 import ModelConfig

NOT_PREPACKED = 'parameters { key: "DISABLE_PREPACKING" value: { string_value: "true" } }\n'


def as_in_the_container(repository: Path) -> None:
    """Leave prepacking out of every network; to be served ``isolated``, with ``config_name="container"``."""
    for file in [*repository.glob("*/config.pbtxt"), *repository.glob("*/configs/container.pbtxt")]:
        if text_format.Parse(file.read_text(), ModelConfig()).backend == "pytorch":
            file.write_text(file.read_text() + NOT_PREPACKED)


def networks_of(triton: TritonProcess) -> list[tuple[str, str]]:
    """Return of each instance of a network in a process of its own its name and its layers with prepacked weights."""
    log = triton.log_file.read_text()
    return re.findall(r"model '(\w+)': TorchScript .* (\d+) linear layers with prepacked .* a process", log)
