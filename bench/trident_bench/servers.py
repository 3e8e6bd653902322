"""What is measured: an embedded Triton on free ports, and the facade before it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trident_server.errors import ServerError
from trident_server.facade import FacadeProcess
from trident_server.process import TritonProcess

from trident_bench.errors import BenchError

HOST = "127.0.0.1"
READY_SECONDS = 300.0


@dataclass(frozen=True)
class Addresses:
    """Where the servers are.

    Attributes:
        http: ``host:port`` of Triton's HTTP service.
        grpc: the same of its gRPC service; None where none is given.
        facade: the facade's URL; None where there is none.
        check: raises why, when a server of one's own has died.
    """

    http: str
    grpc: str | None
    facade: str | None = None
    check: Callable[[], None] = lambda: None

    def of(self, protocol: str) -> str:
        """Return the address for a protocol.

        Raises:
            BenchError: there is none; names the option.
        """
        found = {"http": self.http, "grpc": self.grpc, "facade": self.facade}[protocol]
        if found is None:
            raise BenchError(f"There is no address for {protocol}: give --{protocol}-url, or leave {protocol} out.")
        return found


def new_facade(triton: TritonProcess, folder: Path) -> FacadeProcess:
    """Return a facade before a Triton, not started yet, on a free port; its log goes into a folder."""
    return FacadeProcess(
        triton_url=triton.http_url,
        triton_grpc_url=triton.grpc_url,
        log_file=folder / "facade.log",
        ready_timeout=READY_SECONDS,
    )


@contextlib.contextmanager
def served(
    repository: Path,
    folder: Path,
    *,
    cache: Path | None = None,
    config_name: str | None = None,
    facade: bool = False,
) -> Iterator[Addresses]:
    """Serve a repository, with a facade before it where it is wanted, for as long as the context lasts.

    Args:
        repository: what Triton serves.
        folder: of logs and, unless ``cache`` is another, of its backends; made where it is missing.
        cache: where backends are assembled.
        config_name: Triton's ``--model-config-name``.
        facade: start the facade, too.

    Raises:
        BenchError: a server could not be started, or died; says why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        triton = TritonProcess(
            repository=repository,
            cache_dir=cache or folder / "cache",
            log_file=folder / "triton.log",
            ready_timeout=READY_SECONDS,
            config_name=config_name,
        )
        with triton, new_facade(triton, folder) if facade else contextlib.nullcontext() as before:

            def check() -> None:
                triton.check()
                if before is not None:
                    before.check()

            yield Addresses(triton.http_url, triton.grpc_url, before.url if before else None, check)
    except ServerError as error:
        raise BenchError(str(error)) from error
