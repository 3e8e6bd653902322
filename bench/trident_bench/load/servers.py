"""What is put under load: servers of this command's own on free ports, or those that run already."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trident_server.facade import FacadeProcess
from trident_server.ports import free_ports
from trident_server.process import TritonProcess

from trident_bench.load.errors import LoadError
from trident_bench.load.plan import Protocol

HOST = "127.0.0.1"
READY_SECONDS = 240.0


@dataclass(frozen=True)
class Addresses:
    """Where the servers are.

    Attributes:
        http: ``host:port`` of Triton's HTTP service.
        grpc: the same of its gRPC service; None where nobody said.
        facade: the facade's URL; None where there is none.
        check: raises why, when a server of one's own has died.
    """

    http: str
    grpc: str | None
    facade: str | None
    check: Callable[[], None] = lambda: None

    def of(self, protocol: Protocol) -> str:
        """Return the address for a protocol.

        Raises:
            LoadError: nobody gave one; names the option.
        """
        found = {"http": self.http, "grpc": self.grpc, "facade": self.facade}[protocol]
        if found is None:
            raise LoadError(f"There is no address for {protocol}: give --{protocol}-url, or leave {protocol} out.")
        return found


@contextlib.contextmanager
def own_servers(
    *,
    repository: Path,
    cache_dir: Path,
    log_dir: Path,
    with_facade: bool,
    config_name: str | None = None,
    on_model_loaded: Callable[[str], None] = lambda name: None,
) -> Iterator[Addresses]:
    """Start Triton, and the facade where it is wanted; stop both at the end, whatever happened.

    Args:
        repository: the model repository.
        cache_dir: where backends are assembled.
        log_dir: where logs are written; made where it is missing.
        with_facade: start the facade too.
        config_name: serve each model with its ``configs/<name>.pbtxt``.
        on_model_loaded: called with each model's name.

    Raises:
        ServerError: Triton or the facade cannot be started; says why.
    """
    log_dir.mkdir(parents=True, exist_ok=True)
    http_port, grpc_port, metrics_port, facade_port = free_ports(4)
    with contextlib.ExitStack() as children:
        triton = children.enter_context(
            TritonProcess(
                repository=repository,
                http_port=http_port,
                grpc_port=grpc_port,
                metrics_port=metrics_port,
                cache_dir=cache_dir,
                log_file=log_dir / "triton.log",
                ready_timeout=READY_SECONDS,
                config_name=config_name,
                on_model_loaded=on_model_loaded,
            )
        )
        facade = FacadeProcess(
            host=HOST,
            port=facade_port,
            triton_url=triton.http_url,
            triton_grpc_url=triton.grpc_url,
            log_file=log_dir / "facade.log",
        )
        if with_facade:
            children.enter_context(facade)

        def check() -> None:
            triton.check()
            facade.check()

        yield Addresses(triton.http_url, triton.grpc_url, facade.url if with_facade else None, check)
