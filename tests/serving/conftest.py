"""What serving tests share: one Triton on the built models, small repositories, and a check that all is gone."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from fastapi.testclient import TestClient
from image_context import stage
from trident_api.app import create_app
from trident_api.settings import ApiSettings
from trident_client import TridentClient
from trident_server import supervised
from trident_server.errors import ServerError
from trident_server.ports import free_ports
from trident_server.process import TritonProcess
from trident_server.supervisor import SHARED_MEMORY

# A supervisor whose parent was killed may still be stopping its server when the last test ends.
SECONDS_TO_GO = 30.0

IDENTITY_CONFIG = """
backend: "python"
max_batch_size: 8
input [ { name: "IN" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "OUT" data_type: TYPE_FP32 dims: [ -1 ] } ]
instance_group [ { count: 1 kind: KIND_CPU } ]
"""
IDENTITY_MODEL = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        {initialize}

    def execute(self, requests):
        inputs = [pb_utils.get_input_tensor_by_name(request, "IN").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", each)]) for each in inputs]
"""


@pytest.fixture
def identity_repository(tmp_path: Path) -> Path:
    """A repository with one model, ``identity``, that answers its input."""
    return _write_model(tmp_path / "models", "identity")


@pytest.fixture
def add_model(identity_repository: Path) -> Callable[[str, str], Path]:
    """Adds an identity model whose ``initialize`` runs the given statement to ``identity_repository``."""
    return functools.partial(_write_model, identity_repository)


@pytest.fixture
def new_triton(tmp_path: Path) -> Iterator[Callable[..., TritonProcess]]:
    """Makes servers, not started yet, on free ports; stops what the test leaves running."""
    made: list[TritonProcess] = []

    def new(repository: Path, **options: object) -> TritonProcess:
        http_port, grpc_port, metrics_port = free_ports(3)
        defaults = {
            "http_port": http_port,
            "grpc_port": grpc_port,
            "metrics_port": metrics_port,
            "cache_dir": tmp_path / "cache",
            "log_file": tmp_path / f"triton-{len(made)}.log",
        }
        made.append(TritonProcess(repository=repository, **(defaults | options)))  # type: ignore[arg-type]
        return made[-1]

    yield new
    for triton in made:
        triton.stop()


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail the run when a process or shared memory of this session outlives it."""
    yield
    folder = tmp_path_factory.getbasetemp()
    deadline = time.monotonic() + SECONDS_TO_GO
    while (left := _processes_that_mention(folder) + _shared_memory_of_the_dead_and_us()) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.2)
    assert not left, f"this test session left behind: {left}"


@pytest.fixture(scope="session")
def serve_models(tmp_path_factory: pytest.TempPathFactory, nothing_is_left: None) -> Callable[[Path], TritonProcess]:
    """Makes a server of a repository, on free ports, to be entered as a context."""

    def make(repository: Path) -> TritonProcess:
        folder = tmp_path_factory.mktemp("triton")
        http_port, grpc_port, metrics_port = free_ports(3)
        return TritonProcess(
            repository=repository,
            http_port=http_port,
            grpc_port=grpc_port,
            metrics_port=metrics_port,
            cache_dir=folder,
            log_file=folder / "triton.log",
            ready_timeout=240,
        )

    return make


@pytest.fixture(scope="session")
def triton(
    serve_models: Callable[[Path], TritonProcess], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonProcess]:
    """The real models, started once for the whole run, from the very folder that Triton's image copies."""
    process = serve_models(stage("model_repository", tmp_path_factory.mktemp("image") / "models"))
    try:
        process.start()
    except ServerError as error:
        pytest.fail(f"{error}\nThese tests need the built model repository: run `make models`.", pytrace=False)
    yield process
    process.stop()


@pytest.fixture(scope="module", params=["http", "grpc"])
def client(triton: TritonProcess, request: pytest.FixtureRequest) -> Iterator[TridentClient]:
    """The project's client of the real models, over either protocol."""
    url = triton.http_url if request.param == "http" else triton.grpc_url
    with TridentClient(url, protocol=request.param, concurrency=32) as client:
        yield client


@pytest.fixture
def api(triton: TritonProcess) -> Iterator[TestClient]:
    """The facade in front of the real models."""
    settings = ApiSettings(triton_url=triton.http_url, triton_grpc_url=triton.grpc_url)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


def _write_model(repository: Path, name: str, initialize: str = "pass") -> Path:
    version = repository / name / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(IDENTITY_MODEL.format(initialize=initialize), "utf-8")
    (version.parent / "config.pbtxt").write_text(IDENTITY_CONFIG)
    return repository


def _processes_that_mention(folder: Path) -> list[str]:
    # Every server is given paths below the session's own folder, and so are its stubs.
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "status"]):
        command = " ".join(process.info["cmdline"] or [])
        if str(folder) in command and process.pid != os.getpid():
            found.append(f"process {process.pid}: {command[:200]}")
    return found


def _shared_memory_of_the_dead_and_us() -> list[str]:
    # Other test sessions on this machine have regions of living owners.
    return [str(region) for region in SHARED_MEMORY.glob(f"{supervised.PREFIX}-*") if _is_ours_or_abandoned(region)]


def _is_ours_or_abandoned(region: Path) -> bool:
    owner = int(region.name.split("-")[2])
    return owner == os.getpid() or not psutil.pid_exists(owner)
