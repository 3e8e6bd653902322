"""A stand-in for the model of acceptability, which answers with the text's length and starts in a moment."""

from __future__ import annotations

from pathlib import Path

SECONDS = 0.005
CONFIG = """
backend: "python"
max_batch_size: 64
input [ { name: "TEXT" data_type: TYPE_STRING dims: [ 1 ] } ]
output [
  { name: "PROBABILITY" data_type: TYPE_FP32 dims: [ 1 ] },
  { name: "TRUNCATED_TOKENS" data_type: TYPE_INT32 dims: [ 1 ] },
  { name: "UNKNOWN_TOKENS" data_type: TYPE_INT32 dims: [ 1 ] }
]
instance_group [ { count: 1 kind: KIND_CPU } ]
"""
MODEL = """
import time

import numpy as np
import triton_python_backend_utils as pb_utils


SECONDS = 0.005


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            texts = pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy()
            time.sleep(SECONDS)
            lengths = np.array([[len(text)] for text in texts[:, 0]], dtype=np.float32)
            cut = np.zeros_like(lengths, dtype=np.int32)
            tensors = [pb_utils.Tensor("PROBABILITY", lengths)]
            tensors += [pb_utils.Tensor(name, cut) for name in ("TRUNCATED_TOKENS", "UNKNOWN_TOKENS")]
            responses.append(pb_utils.InferenceResponse(tensors))
        return responses
"""


def write_toy_acceptability(repository: Path, seconds: float = SECONDS) -> Path:
    """Write it into a repository as ``cola``, which takes so long for a request; return the repository."""
    version = repository / "cola" / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(MODEL.replace(f"SECONDS = {SECONDS}", f"SECONDS = {seconds}"), "utf-8")
    (version.parent / "config.pbtxt").write_text(CONFIG)
    return repository
