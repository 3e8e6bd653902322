"""Measurements that are kept as they are made, so that the same command goes on where it was interrupted."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, Field, ValidationError

from trident_bench.errors import BenchError

LOCK = "lock"


class Record(BaseModel):
    """A measurement that is kept.

    Attributes:
        fingerprint: of all that the result depends on; one of another is not taken for finished.
        measured: when, in UTC.
    """

    fingerprint: str
    measured: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


Kept = TypeVar("Kept", bound=Record)


def fingerprint(conditions: Mapping[str, Any]) -> str:
    """Return a word that changes when what a result depends on does."""
    return hashlib.sha256(json.dumps(conditions, sort_keys=True).encode()).hexdigest()[:16]


class Store(Generic[Kept]):
    """A folder of measurements, a JSON file each.

    Args:
        folder: made when something is kept.
        kind: of the measurements.
    """

    def __init__(self, folder: Path, kind: type[Kept]) -> None:
        self.folder = folder
        self._kind = kind

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let no other process keep measurements here for as long as the context lasts.

        Raises:
            BenchError: the folder cannot be written, or another process is at it.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / LOCK).open("w")
        except OSError as error:
            reason = f"{self.folder} cannot be written ({error.strerror}): choose another with --output."
            raise BenchError(reason) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                reason = f"Another process measures into {self.folder}: choose another with --output."
                raise BenchError(reason) from None
            yield

    def place(self, name: str) -> Path:
        """Return the folder of a measurement, which is made."""
        folder = (self.folder / name).parent
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def find(self, name: str, fingerprint: str) -> Kept | None:
        """Return a finished measurement; None where there is none, or where it was made under other conditions."""
        try:
            found = self._kind.model_validate_json((self.folder / f"{name}.json").read_text("utf-8"))
        except (OSError, ValidationError):
            return None
        return found if found.fingerprint == fingerprint else None

    def every(self, folder: str, fingerprint: str) -> list[Kept]:
        """Return all finished measurements of a folder, by their names."""
        names = sorted(file.stem for file in (self.folder / folder).glob("*.json"))
        found = (self.find(f"{folder}/{name}", fingerprint) for name in names)
        return [each for each in found if each is not None]

    def keep(self, name: str, record: Kept) -> None:
        """Write a finished measurement, whole or not at all."""
        file = self.place(name) / f"{Path(name).name}.json"
        part = file.with_suffix(".part")
        part.write_text(record.model_dump_json(indent=1), "utf-8")
        part.replace(file)
