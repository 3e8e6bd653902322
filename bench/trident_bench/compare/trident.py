"""Trident itself as a contender: Triton on the built models, and the facade in front of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trident_server.child import Launch
from trident_server.facade import FacadeProcess
from trident_server.process import TritonProcess

from trident_bench.compare.inputs import link_served
from trident_bench.compare.processes import Measured
from trident_bench.errors import MeasurementError
from trident_bench.servers import READY_SECONDS


class OwnTriton(Measured, TritonProcess):
    """Triton with some of the built models.

    Args:
        name: what it is called.
        repository: whose models they are.
        models: their names.
        folder: of links, backends and the log.
        config_name: Triton's ``--model-config-name``.
    """

    def __init__(
        self, name: str, repository: Path, models: Sequence[str], folder: Path, config_name: str | None
    ) -> None:
        super().__init__(
            repository=folder / name / "models",
            cache_dir=folder,
            log_file=folder / name / "triton.log",
            ready_timeout=READY_SECONDS,
            config_name=config_name,
        )
        self.name, self.facts = name, {}
        self._linked = repository, models, folder / name / "models"

    def _prepare(self) -> Launch:
        link_served(*self._linked)
        return super()._prepare()


class OwnFacade(Measured, FacadeProcess):
    """The facade in front of a Triton, which is started and stopped by itself.

    Args:
        name: what it is called.
        triton: what it stands before.
        folder: of the log.
    """

    def __init__(self, name: str, triton: OwnTriton, folder: Path) -> None:
        super().__init__(
            triton_url=triton.http_url,
            triton_grpc_url=triton.grpc_url,
            log_file=folder / "facade.log",
            ready_timeout=READY_SECONDS,
        )
        self.name, self.facts = name, {}
        self._triton = triton

    def _prepare(self) -> Launch:
        if not self._triton.pids():
            raise MeasurementError(f"{self._triton.name}, which it stands before, does not run")
        return super()._prepare()
