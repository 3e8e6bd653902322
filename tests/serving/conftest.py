"""What serving tests share: small repositories, and clients of the built models."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from trident_api.app import create_app
from trident_api.settings import ApiSettings
from trident_client import TridentClient
from trident_server.process import TritonProcess

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
def new_triton(serve_models: Callable[..., TritonProcess]) -> Iterator[Callable[..., TritonProcess]]:
    """Makes servers, not started yet, as ``serve_models`` does; stops what the test leaves running."""
    made: list[TritonProcess] = []

    def new(repository: Path, **options: object) -> TritonProcess:
        made.append(serve_models(repository, **options))
        return made[-1]

    yield new
    for triton in made:
        triton.stop()


@pytest.fixture(scope="module")
def identity_triton(
    serve_models: Callable[..., TritonProcess], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonProcess]:
    """A server with one model, ``identity``, for tests that only look at it."""
    with serve_models(_write_model(tmp_path_factory.mktemp("identity") / "models", "identity")) as process:
        yield process


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
