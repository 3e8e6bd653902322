"""What can go wrong in the ``pytorch`` backend, and the Triton error code that each becomes.

::

    BackendError                   INTERNAL (HTTP 500)
    ├── ConfigurationError         the model's load fails
    ├── RequestError               INVALID_ARG (400)  one request cannot be read; the others of its batch are answered
    ├── AnswerError                INTERNAL (500)     forward raised, or answered with something that is no output
    ├── OutputError                INVALID_ARG (400)  an output is not as configured
    └── ShortOutputError           UNSUPPORTED (501)  an output has too few rows or elements for the batch

Codes are the C++ backend's. Whatever else ``forward`` raises is INTERNAL too.
"""

from __future__ import annotations

import re

#: The frames of TorchScript, or Python, with the source around them, up to the line that names the error.
FRAMES = re.compile(
    r"(?:The following operation failed in the TorchScript interpreter\.\s+)?Traceback (?s:.*)(?:<--- HERE|^ +File \")"
    r"(?s:.*?)(?:^(?=[\w.]+(?:Error|Exception)\b)|\Z)",
    re.MULTILINE,
)
#: Where torch's own C++ failed, and its stack.
PLACE = re.compile(r"\[enforce fail at [^\]]*\] (?:err == 0\. )?|Exception raised from (?s:.*)")


def own_words(text: str) -> str:
    """Return what an error says, in one line, without the frames and places that only the log is told."""
    return " ".join(PLACE.sub("", FRAMES.sub("", text)).split())


class BackendError(Exception):
    """Base of this backend's errors.

    Attributes:
        code: name of the ``TritonError`` code.
    """

    code = "INTERNAL"


class ConfigurationError(BackendError):
    """The model cannot be served as configured; the text says what is accepted."""


class RequestError(BackendError):
    """A request's inputs cannot be read."""

    code = "INVALID_ARG"


class AnswerError(BackendError):
    """``forward`` raised an exception, or returned something other than tensors and ``List[str]``."""


class OutputError(BackendError):
    """An output is missing, a scalar, or of another type than configured."""

    code = "INVALID_ARG"


class ShortOutputError(BackendError):
    """An output is too short to be split over the batch's requests."""

    code = "UNSUPPORTED"
