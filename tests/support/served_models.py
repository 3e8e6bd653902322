"""Fixtures of a real Triton on the built models, and the check that nothing of it is left; for the root conftest."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from image_context import stage
from trident_server import supervised
from trident_server.errors import ServerError
from trident_server.ports import free_ports
from trident_server.process import TritonProcess
from trident_server.supervisor import SHARED_MEMORY

# A supervisor whose parent was killed may still be stopping its server when the last test ends.
SECONDS_TO_GO = 30.0


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
def serve_models(tmp_path_factory: pytest.TempPathFactory, nothing_is_left: None) -> Callable[..., TritonProcess]:
    """Makes a server of a repository, on free ports, to be entered as a context; further options are its own."""

    def make(repository: Path, **options: Any) -> TritonProcess:
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
            **options,
        )

    return make


@pytest.fixture(scope="session")
def triton(
    serve_models: Callable[..., TritonProcess], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonProcess]:
    """The real models, started once for the whole run, from the very folder that Triton's image copies."""
    process = serve_models(stage("model_repository", tmp_path_factory.mktemp("image") / "models"))
    try:
        process.start()
    except ServerError as error:
        pytest.fail(f"{error}\nThese tests need the built model repository: run `make models`.", pytrace=False)
    yield process
    process.stop()


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
    # Servers' regions and clients' are named alike: whose process ids, the owner's, and a name.
    named = re.fullmatch(rf"{supervised.PREFIX}-(?:client-)?\d+-(\d+)-.*", region.name)
    owner = int(named[1]) if named else os.getpid()
    return owner == os.getpid() or not psutil.pid_exists(owner)
