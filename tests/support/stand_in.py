"""Stands in for the model of acceptability, in a process of its own, and answers with the text's length."""

from __future__ import annotations

from pathlib import Path

CONFIG = """
backend: "python"
max_batch_size: 64
input [ { name: "TEXT" data_type: TYPE_STRING dims: [ 1 ] } ]
output [
  { name: "PROBABILITY" data_type: TYPE_FP32 dims: [ 1 ] },
  { name: "TRUNCATED_TOKENS" data_type: TYPE_INT32 dims: [ 1 ] },
  { name: "UNKNOWN_TOKENS" data_type: TYPE_INT32 dims: [ 1 ] }
]
dynamic_batching { default_queue_policy { default_timeout_microseconds: 60000000 allow_timeout_override: true } }
instance_group [ { count: 1 kind: KIND_CPU } ]
"""
MODEL = """
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        time.sleep(0.02)
        if any(pb_utils.get_input_tensor_by_name(each, "TEXT").as_numpy()[0, 0] == b"slow" for each in requests):
            time.sleep(3)
        responses = []
        for request in requests:
            texts = pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy()
            lengths = np.array([[len(text) / 100] for text in texts[:, 0]], dtype=np.float32)
            none = np.zeros_like(lengths, dtype=np.int32)
            tensors = [pb_utils.Tensor("PROBABILITY", lengths)]
            tensors += [pb_utils.Tensor(name, none) for name in ("TRUNCATED_TOKENS", "UNKNOWN_TOKENS")]
            responses.append(pb_utils.InferenceResponse(tensors))
        return responses
"""


def write_models(folder: Path) -> Path:
    """Write a repository of it, and return that."""
    version = folder / "models" / "cola" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(MODEL)
    (version.parent / "config.pbtxt").write_text(CONFIG)
    return folder / "models"
