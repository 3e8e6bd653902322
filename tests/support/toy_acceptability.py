"""A stand-in for the model of acceptability, which answers with the text's length and starts in a moment."""

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
instance_group [ { count: 1 kind: KIND_CPU } ]
"""
MODEL = """
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        texts = sum(len(pb_utils.get_input_tensor_by_name(each, "TEXT").as_numpy()) for each in requests)
        time.sleep(SECONDS * (texts if FOR_EACH_TEXT else 1))
        firsts = {pb_utils.get_input_tensor_by_name(each, "TEXT").as_numpy()[0, 0] for each in requests}
        if b"slow" in firsts:
            time.sleep(3)
        if b"for ever" in firsts:
            time.sleep(1_000_000)
        responses = []
        for request in requests:
            texts = pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy()
            lengths = np.array([[len(text) / DIVISOR] for text in texts[:, 0]], dtype=np.float32)
            none = np.zeros_like(lengths, dtype=np.int32)
            tensors = [pb_utils.Tensor("PROBABILITY", lengths)]
            tensors += [pb_utils.Tensor(name, none) for name in ("TRUNCATED_TOKENS", "UNKNOWN_TOKENS")]
            responses.append(pb_utils.InferenceResponse(tensors))
        return responses
"""


def write_toy_acceptability(
    repository: Path,
    name: str = "cola",
    *,
    seconds: float = 0.005,
    for_each_text: bool = False,
    divisor: int = 1,
    scheduling: str = "",
) -> Path:
    """Write it into a repository; return the repository.

    Args:
        repository: a folder, which need not exist yet.
        name: of the model.
        seconds: that it takes for what it is given at a time; three more with a text "slow", and without end with one
            "for ever".
        for_each_text: whether it takes that for each text, as what computes does.
        divisor: of the lengths, 100 where answers are to look like probabilities.
        scheduling: what its configuration says of that.
    """
    version = repository / name / "1"
    version.mkdir(parents=True)
    settings = f"SECONDS, FOR_EACH_TEXT, DIVISOR = {seconds}, {for_each_text}, {divisor}\n"
    (version / "model.py").write_text(settings + MODEL)
    (version.parent / "config.pbtxt").write_text(CONFIG + scheduling)
    return repository
