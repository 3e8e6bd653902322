"""The peers' own environments: made the first time from one pinned file each, and again when that file changes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from trident_bench.errors import MeasurementError

#: The peers' programs and what they need.
PROGRAMS = Path(__file__).resolve().parents[2] / "peers"
STAMP = ".installed"
LINES_OF_FAILURE = 3


@dataclass(frozen=True)
class Environment:
    """A virtual environment of one peer.

    Attributes:
        name: of the requirement file in :data:`PROGRAMS`, and of the environment's folder.
        folder: below which environments are made.
        torch_index_url: a further package index, for torch's CPU build; None for the default index alone.
    """

    name: str
    folder: Path
    torch_index_url: str | None = None

    @property
    def requirements(self) -> Path:
        """The pinned file."""
        return PROGRAMS / f"{self.name}.txt"

    @property
    def bin(self) -> Path:
        """Where its programs are."""
        return self.folder.resolve() / self.name / "bin"

    def ensure(self) -> None:
        """Install what is not there yet.

        Raises:
            MeasurementError: it cannot be installed; carries what pip printed last.
        """
        digest = hashlib.sha256(self.requirements.read_bytes()).hexdigest()
        stamp = self.bin.parent / STAMP
        if stamp.is_file() and stamp.read_text() == digest:
            return
        shutil.rmtree(self.bin.parent, ignore_errors=True)
        self._run([sys.executable, "-m", "venv", str(self.bin.parent)])
        # The venv's own pip is as old as Python.
        pip = [str(self.bin / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        index = ["--extra-index-url", self.torch_index_url] if self.torch_index_url else []
        self._run([*pip, "pip>=25,<26"])
        self._run([*pip, *index, "--requirement", str(self.requirements)])
        stamp.write_text(digest)

    def _run(self, command: list[str]) -> None:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if result.returncode != 0:
            reason = (result.stderr.strip() or result.stdout.strip()).splitlines()[-LINES_OF_FAILURE:]
            raise MeasurementError(f"{self.requirements.name} cannot be installed: {' '.join(reason)}")
