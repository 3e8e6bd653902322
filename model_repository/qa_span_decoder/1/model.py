"""Logits of a passage's windows to the likeliest answers; the work is done in ``spans.py``."""

import json
import sys
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

sys.path.insert(0, str(Path(__file__).parent))

from spans import MAX_ANSWER_TOKENS, Window, find_spans

#: The least and the most that is accepted of each number, and what it is where it is not given.
ACCEPTED = {"TOP_K": (1, 100), "MAX_ANSWER_TOKENS": (1, 512), "NO_ANSWER": (0, 1)}
DEFAULTS = {"TOP_K": 1, "MAX_ANSWER_TOKENS": MAX_ANSWER_TOKENS, "NO_ANSWER": 1}


class BadNumberError(ValueError):
    """A number that the model does not take; the message says what it takes."""


class TritonPythonModel:
    """Finds each request's spans."""

    def initialize(self, args):
        """Read how the reader was calibrated, from ``calibration.json``, and how answers are cleaned up."""
        parameters = {key: each["string_value"] for key, each in json.loads(args["model_config"])["parameters"].items()}
        calibration = json.loads(Path(__file__).with_name("calibration.json").read_text())
        longest = int(parameters["longest_answer"])
        self.options = {
            "temperature": float(calibration["temperature"]),
            "length_penalty": float(calibration.get("length_penalty", 0.0)),
            "may_be_unanswerable": bool(calibration["may_be_unanswerable"]),
            "no_answer_threshold": float(calibration.get("no_answer_threshold", 0.0)),
            "strip": parameters["strip"].split(),
            "longest_answer": longest if longest > 0 else None,
        }
        if not self.options["temperature"] > 0:
            raise ValueError(f"temperature is {self.options['temperature']}; a number above 0 is accepted")
        if not self.options["length_penalty"] >= 0:
            raise ValueError(f"length_penalty is {self.options['length_penalty']}; a number of 0 or more is accepted")

    def execute(self, requests):
        """Answer each request; a number out of range is an error and harms no other."""
        return [self.answer(request) for request in requests]

    def answer(self, request):
        """Answer one request with its spans, the best first."""
        try:
            top_k, most_tokens, no_answer = (number(request, name) for name in ACCEPTED)
        except BadNumberError as error:
            return refusal(str(error))
        context = tensor(request, "CONTEXT").reshape(-1)[0].decode()
        start, end = (tensor(request, name)[0] for name in ("START_LOGITS", "END_LOGITS"))
        # A reader trained with questions that have no answer says so at a window's first token.
        windows = [
            Window(start[place : place + count], end[place : place + count], first, float(start[begin] + end[begin]))
            for begin, place, count, first in tensor(request, "WINDOWS")[0].tolist()
        ]
        offsets = tensor(request, "OFFSETS")[0]
        options = self.options if no_answer else self.options | {"may_be_unanswerable": False}
        spans = find_spans(context, offsets, windows, top_k=top_k, max_answer_tokens=most_tokens, **options)
        if not spans:
            return refusal("CONTEXT holds no text that the model reads; text with a letter or a digit is accepted")
        return pb_utils.InferenceResponse(
            [
                output("ANSWER", [context[span.start : span.end].encode() for span in spans], np.object_),
                output("SCORE", [span.score for span in spans], np.float32),
                output("START", [span.start for span in spans], np.int32),
                output("END", [span.end for span in spans], np.int32),
            ]
        )


def refusal(message):
    """Answer a request with an error that is its own fault."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, pb_utils.TritonError.INVALID_ARG))


def number(request, name):
    """Return an optional input's number, or its default.

    Raises:
        BadNumberError: it is not one number that is accepted.
    """
    given = pb_utils.get_input_tensor_by_name(request, name)
    if given is None:
        return DEFAULTS[name]
    values = given.as_numpy().reshape(-1).tolist()
    least, most = ACCEPTED[name]
    if len(values) != 1 or not least <= values[0] <= most:
        raise BadNumberError(f"{name} is {', '.join(map(str, values))}; one number from {least} to {most} is accepted")
    return values[0]


def tensor(request, name):
    """Return an input's array."""
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy()


def output(name, values, dtype):
    """Make an output of one row."""
    return pb_utils.Tensor(name, np.array([values], dtype=dtype))
