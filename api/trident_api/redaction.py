"""Redaction of what Triton says: a caller gets its words, and not where in whose code it failed."""

from __future__ import annotations

import re

#: Frames of Python or TorchScript, with the source around them, up to the line that names the error.
FRAMES = re.compile(
    r"(?:The following operation failed in the TorchScript interpreter\.\s+)?Traceback (?s:.*)(?:<--- HERE|^ *File \")"
    r"(?s:.*?)(?:^(?=[\w.]+(?:Error|Exception)\b)|\Z)",
    re.MULTILINE,
)
#: The frames that stand behind an error of a Python model, and those of C++.
STACK = re.compile(r"\s+At:\s*\n(?s:.*)|\s*Exception raised from (?s:.*)")
#: Where something failed, or lies on the server.
PLACES = re.compile(r"\[enforce fail at [^\]]*\] (?:err == 0\. )?|(?<![\w/:.])/(?:[^\s'\":;,()/]+/)+[^\s'\":;,()]*")


def without_internals(message: str) -> str:
    """Return a message without tracebacks, stacks and paths; Triton's own log has them."""
    if "\n" not in message and "/" not in message and "[" not in message:
        return message
    redacted = PLACES.sub("", STACK.sub("", FRAMES.sub("", message)))
    return " ".join(redacted.split())
