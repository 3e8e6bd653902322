"""Where the project's own files are: the model repository's sources and the shipped weights.

In a checkout they are where they are edited. A wheel carries them beside this module, where nothing may be written:
what is served from there is a copy in the cache, in which the models are built.
"""

from __future__ import annotations

import shutil
import tempfile
from importlib import metadata
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

#: There in a wheel alone; ``setup.py`` writes it.
PACKED = Path(__file__).with_name("shipped")
CHECKOUT = Path(__file__).resolve().parents[2]
DISTRIBUTION = "trident-nlp"
REPOSITORY = "model_repository"


class CacheSettings(BaseSettings):
    """Where what is fetched and built is kept."""

    model_config = SettingsConfigDict(env_prefix="TRIDENT_")

    cache_dir: Path = Field(Path("~/.cache/trident"), description="Fetched encoders, and models built from a wheel.")


def repository_sources() -> Path:
    """Return the model repository as it is in the source."""
    return (PACKED if PACKED.is_dir() else CHECKOUT) / REPOSITORY


def adapters() -> Path:
    """Return the folder of the shipped weights."""
    return PACKED / "adapters" if PACKED.is_dir() else CHECKOUT / "training" / "adapters"


def default_repository() -> Path:
    """Return what is served and built where no repository is named.

    ``model_repository`` in the folder that a command runs in, as in a checkout; else, from a wheel, the cache's copy of
    the wheel's, which need not be there yet. A new version of the wheel has a copy of its own.
    """
    here = Path(REPOSITORY)
    if here.is_dir() or not PACKED.is_dir():
        return here
    return CacheSettings().cache_dir.expanduser().resolve() / f"{REPOSITORY}-{metadata.version(DISTRIBUTION)}"


def is_copy(repository: Path) -> bool:
    """Say whether a repository is the cache's copy, which the project itself builds models in."""
    return PACKED.is_dir() and repository == default_repository() != Path(REPOSITORY)


def how_to_build(repository: Path) -> str:
    """Return a sentence on what builds what is missing or stale in a repository; a wheel has no Makefile."""
    if not PACKED.is_dir():
        return "Run `make models`."
    if is_copy(repository):
        return "`trident-serve` builds them before it serves, and `trident-train models` builds them alone."
    return f"Run `trident-train models --repository {repository}`."


def make_copy(repository: Path) -> None:
    """Make the cache's copy where that is what is named, and it is not there; it appears whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    if not is_copy(repository) or repository.is_dir():
        return
    repository.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=repository.parent, prefix=f".{REPOSITORY}-") as workspace:
        draft = Path(workspace) / REPOSITORY
        shutil.copytree(repository_sources(), draft)
        try:
            draft.rename(repository)
        except OSError:
            # Another process was first; it copied the same.
            if not repository.is_dir():
                raise
