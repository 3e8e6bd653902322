"""An embedded Triton to measure, on free ports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from trident_server.errors import ServerError
from trident_server.ports import free_ports
from trident_server.process import TritonProcess

from trident_bench.stand.errors import StandError

READY_TIMEOUT = 300.0


@contextmanager
def served(
    repository: Path, folder: Path, *, config_name: str | None = None, extra_args: Sequence[str] = ()
) -> Iterator[TritonProcess]:
    """Serve a repository for as long as the context lasts.

    Args:
        repository: what to serve.
        folder: where the server may write.
        config_name: Triton's ``--model-config-name``.
        extra_args: further arguments of tritonserver.

    Raises:
        StandError: it could not be started; says why.
    """
    http_port, grpc_port, metrics_port = free_ports(3)
    triton = TritonProcess(
        repository=repository,
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        cache_dir=folder / "cache",
        log_file=folder / "triton.log",
        ready_timeout=READY_TIMEOUT,
        config_name=config_name,
        extra_args=extra_args,
    )
    try:
        triton.start()
    except ServerError as error:
        raise StandError(str(error)) from error
    try:
        yield triton
    finally:
        triton.stop()
