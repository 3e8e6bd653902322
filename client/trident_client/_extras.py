"""What is said where a package is missing: the command that brings it."""

from __future__ import annotations

from importlib import metadata

#: Holds what it installs to what Triton's packages take; its extras of the client's names bring the same.
WHOLE = "trident-nlp"
CLIENT = "trident-client"


def requirement(*extras: str) -> str:
    """Return what pip is asked for to have extras of the client, such as ``cli``, beside what is installed."""
    try:
        metadata.version(WHOLE)
    except metadata.PackageNotFoundError:
        return f"{CLIENT}[{','.join(extras)}]"
    return f"{WHOLE}[{','.join(extras)}]"
