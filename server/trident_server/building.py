"""Builds the models of the wheel's own repository: what ``make models`` does in a checkout.

``trident-train models`` does the work, as a process: this package imports nothing of ``trident_training``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

from rich.console import Console

from trident_server import shipped
from trident_server.errors import RepositoryError
from trident_server.files import using


def build_models(repository: Path, sets: Collection[str], console: Console) -> None:
    """Build what is missing or stale in the cache's copy of the wheel's repository; makes the copy first.

    Args:
        repository: the copy.
        sets: those that are served; all where there are none.
        console: where it is said that this takes a while.

    Raises:
        FileError: the copy cannot be written.
        RepositoryError: a model could not be built; standard error says why.
    """
    if not repository.is_dir():
        console.print(f"The models are built in {repository}, once (some minutes) ...", markup=False)
    with using(repository):
        shipped.make_copy(repository)
    command = [sys.executable, "-m", "trident_training", "models", "--repository", str(repository)]
    if subprocess.run(command, env={**os.environ, "TRIDENT_MODELS": ",".join(sets)}).returncode:
        raise RepositoryError("Not every model could be built; the reason is above.")
