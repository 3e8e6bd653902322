"""One Triton with all models of the contract: once with the backend in its process, once with a process for each."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from served_models import note_the_only_start
from trident_server.process import TritonProcess

from .client import Client
from .repository import write_repository


@pytest.fixture(scope="package", params=[False, True], ids=["in-process", "isolated"])
def isolated(request: pytest.FixtureRequest) -> bool:
    """Whether each model has a process of its own."""
    return bool(request.param)


@pytest.fixture(scope="package")
def repository(isolated: bool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All models of the contract, which no server changes."""
    return write_repository(tmp_path_factory.mktemp("pytorch_backend") / "models", isolated)


@pytest.fixture(scope="package")
def backend_triton(
    isolated: bool,
    serve_models: Callable[..., TritonProcess],
    repository: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[TritonProcess]:
    note_the_only_start(tmp_path_factory, f"the contract's models, {'isolated' if isolated else 'in process'},")
    # Models that must not load are no reason to stop, nor to be unready.
    # Warm-ups are logged only where it is asked for.
    lenient = ["--exit-on-error=false", "--strict-readiness=false", "--log-verbose=1"]
    # Some twenty processes load torch, one after another, and the machine may be busy.
    with serve_models(repository, isolated=isolated, extra_args=lenient, ready_timeout=600.0) as process:
        yield process


@pytest.fixture(scope="package")
def client(backend_triton: TritonProcess) -> Iterator[Client]:
    client = Client(backend_triton.http_url)
    yield client
    client.close()
