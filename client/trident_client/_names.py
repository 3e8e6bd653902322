"""Names of the columns that answers stand in, in files and in tables of Arrow."""

from __future__ import annotations

from collections.abc import Collection

#: Why a row has no answer.
ERROR = "error"


def unused_name(name: str, taken: Collection[str]) -> str:
    """Return a name for an answer's column that no column has."""
    while name in taken:
        name = f"trident_{name}"
    return name
