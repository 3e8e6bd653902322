"""Fixtures of a real Triton on the built models, and the check that nothing of it is left; for the root conftest."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fine_tuned import run_folder
from image_context import stage
from own_processes import OwnProcesses, wait_until_nothing_is_left
from trident_server.errors import ServerError
from trident_server.process import TritonProcess

# A supervisor whose parent was killed may still be stopping its server when the last test ends.
SECONDS_TO_GO = 30.0
SECONDS_TO_STOP = 15.0
READY_SECONDS = 240.0
#: In the configuration's stash, once the session has ended: how many tritonservers it started.
TRITON_STARTS = pytest.StashKey[int]()


@pytest.fixture(scope="session")
def own_processes(request: pytest.FixtureRequest) -> Iterator[OwnProcesses]:
    """Knows every process that this session starts."""
    own = OwnProcesses()
    yield own
    own.close()
    request.config.stash[TRITON_STARTS] = len(own.tritons)


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left(own_processes: OwnProcesses) -> Iterator[None]:
    """Fail the run when a process or shared memory of this session outlives it."""
    yield
    left = wait_until_nothing_is_left(own_processes, SECONDS_TO_GO)
    assert not left, f"this test session left behind: {left}"


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the backends of all servers of a run are assembled, so that they are compiled once for all workers."""
    folder = run_folder(tmp_path_factory) / "cache"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def share_backends(cache_dir: Path) -> Callable[[Path], Path]:
    """Makes a folder that can be a server's cache directory, in which the session's backends are; returns it."""
    (cache_dir / "backends").mkdir(exist_ok=True)

    def share(folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "backends").exists():
            (folder / "backends").symlink_to(cache_dir / "backends")
        return folder

    return share


@pytest.fixture(scope="session")
def serve_models(
    cache_dir: Path, tmp_path_factory: pytest.TempPathFactory, nothing_is_left: None
) -> Callable[..., TritonProcess]:
    """Makes a server of a repository, on free ports, to be entered as a context; further options are its own.

    It is killed when it is left, unless ``stop_grace`` says otherwise: a clean stop takes three seconds.
    """
    logs = tmp_path_factory.mktemp("logs")
    numbers = itertools.count()

    def make(repository: Path, **options: Any) -> TritonProcess:
        defaults = {
            "cache_dir": cache_dir,
            "log_file": logs / f"triton-{next(numbers)}.log",
            "ready_timeout": READY_SECONDS,
            "stop_grace": 0.0,
        }
        return TritonProcess(repository=repository, **(defaults | options))

    return make


def note_the_only_start(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    """Fail where another worker of this run serves the same: what shares a server is to be one worker's."""
    try:
        (run_folder(tmp_path_factory) / f"{name}.started").touch(exist_ok=False)
    except FileExistsError:
        pytest.fail(f"another worker started {name} already, see the groups in tests/conftest.py", pytrace=False)


@pytest.fixture(scope="session")
def triton(
    serve_models: Callable[..., TritonProcess], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonProcess]:
    """The real models, started once for the whole run, from the very folder that Triton's image copies."""
    note_the_only_start(tmp_path_factory, "the built models")
    repository = stage("model_repository", tmp_path_factory.mktemp("image") / "models")
    process = serve_models(repository, stop_grace=SECONDS_TO_STOP)
    try:
        process.start()
    except ServerError as error:
        pytest.fail(f"{error}\nThese tests need the built model repository: run `make models`.", pytrace=False)
    yield process
    process.stop()
