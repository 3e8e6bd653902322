"""One Triton with all models of the contract: once with the backend in its process, once with a process for each."""

from collections.abc import Iterator

import pytest
from trident_server.ports import free_ports
from trident_server.process import TritonProcess

from .client import Client
from .repository import write_repository


@pytest.fixture(scope="package", params=[False, True], ids=["in-process", "isolated"])
def isolated(request: pytest.FixtureRequest) -> bool:
    """Whether each model has a process of its own."""
    return bool(request.param)


@pytest.fixture(scope="package")
def backend_triton(isolated: bool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonProcess]:
    folder = tmp_path_factory.mktemp("pytorch_backend")
    http, grpc, metrics = free_ports(3)
    with TritonProcess(
        repository=write_repository(folder / "models"),
        http_port=http,
        grpc_port=grpc,
        metrics_port=metrics,
        cache_dir=folder / "cache",
        log_file=folder / "triton.log",
        ready_timeout=240,
        isolated=isolated,
        # Models that must not load are no reason to stop, nor to be unready.
        extra_args=["--exit-on-error=false", "--strict-readiness=false"],
    ) as process:
        yield process


@pytest.fixture(scope="package")
def client(backend_triton: TritonProcess) -> Iterator[Client]:
    client = Client(backend_triton.http_url)
    yield client
    client.close()
