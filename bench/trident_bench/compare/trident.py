"""Trident itself as a contender: Triton on the built models, and the facade in front of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from trident_server.facade import FacadeProcess
from trident_server.process import TritonProcess

from trident_bench.compare.inputs import link_served
from trident_bench.errors import MeasurementError
from trident_bench.servers import READY_SECONDS, new_facade


class TridentContender:
    """A server of Trident's own.

    Args:
        name: what it is called.
        server: started and stopped.
        prepare: called before it is started.
    """

    def __init__(self, name: str, server: TritonProcess | FacadeProcess, prepare: Callable[[], object]) -> None:
        self.name = name
        self.facts: dict[str, Any] = {}
        self._server, self._prepare = server, prepare
        self._started = False

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self._prepare()
        self._server.start()
        self._started = True

    def stop(self) -> None:
        """Stop it."""
        self._server.stop()
        self._started = False

    def pids(self) -> list[int]:
        """Return its process id, or nothing when it is not running."""
        return [self._server.pid] if self._started else []


def triton_contender(
    name: str, repository: Path, models: Sequence[str], folder: Path, config_name: str | None
) -> tuple[TridentContender, TritonProcess]:
    """Return Triton with some of the built models; links, backends and the log go into the folder."""
    own = folder / name
    triton = TritonProcess(
        repository=own / "models",
        cache_dir=folder,
        log_file=own / "triton.log",
        ready_timeout=READY_SECONDS,
        config_name=config_name,
    )
    return TridentContender(name, triton, lambda: link_served(repository, models, own / "models")), triton


def facade_contender(
    name: str, behind: TridentContender, triton: TritonProcess, folder: Path
) -> tuple[TridentContender, FacadeProcess]:
    """Return the facade in front of a Triton, which is started and stopped by itself."""

    def check() -> None:
        if not behind.pids():
            raise MeasurementError(f"{behind.name}, which it stands before, does not run")

    facade = new_facade(triton, folder)
    return TridentContender(name, facade, check), facade
