"""Trident itself as a contender: Triton on the built models, and the facade in front of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trident_bench.compare.inputs import link_served
from trident_bench.errors import MeasurementError
from trident_bench.servers import new_facade, new_triton


class EnsembleContender:
    """Triton with some of the built models.

    Args:
        name: what it is called.
        repository: the built model repository.
        models: which of its models are served.
        folder: where the repository of links, backends and the log go.
        config_name: Triton's ``--model-config-name``.
    """

    def __init__(
        self, name: str, repository: Path, models: Sequence[str], folder: Path, config_name: str | None
    ) -> None:
        self.name = name
        self.facts: dict[str, Any] = {}
        self._repository, self._models = repository, models
        self._folder = folder / name
        self.triton = new_triton(self._folder / "models", self._folder, cache=folder, config_name=config_name)
        self._started = False

    def start(self) -> None:
        """Start Triton and wait until every model is ready."""
        link_served(self._repository, self._models, self._folder / "models")
        self.triton.start()
        self._started = True

    def stop(self) -> None:
        """Stop it."""
        self.triton.stop()
        self._started = False

    def pids(self) -> list[int]:
        """Return Triton's process id, or nothing when it is not running."""
        return [self.triton.pid] if self._started else []


class FacadeContender:
    """The facade in front of an ensemble.

    Args:
        name: what it is called.
        behind: the ensemble; it is started and stopped by its own.
        folder: where the log goes.
    """

    def __init__(self, name: str, behind: EnsembleContender, folder: Path) -> None:
        self.name = name
        self.facts: dict[str, Any] = {}
        self._behind = behind
        self._facade = new_facade(behind.triton, folder)
        self.address = self._facade.url
        self._started = False

    def start(self) -> None:
        """Start the facade and wait until it says that Triton is ready.

        Raises:
            MeasurementError: there is no Triton to wait for.
        """
        if not self._behind.pids():
            raise MeasurementError(f"{self._behind.name}, which it stands before, does not run")
        self._facade.start()
        self._started = True

    def stop(self) -> None:
        """Stop the facade."""
        self._facade.stop()
        self._started = False

    def pids(self) -> list[int]:
        """Return the facade's process id, or nothing when it is not running."""
        return [self._facade.pid] if self._started else []
