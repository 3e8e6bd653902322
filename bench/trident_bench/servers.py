"""What is measured: an embedded Triton on free ports, and the facade before it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from trident_server.errors import ServerError
from trident_server.facade import FacadeProcess
from trident_server.process import TritonProcess

from trident_bench.ensembles import Ensemble, choose
from trident_bench.errors import BenchError
from trident_bench.options import ServerOptions
from trident_bench.repository import CONFIGURATIONS, ensembles, link_models
from trident_bench.triton import TritonState

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


class Served(NamedTuple):
    """What is measured.

    Attributes:
        url: ``host:port`` of the service that is asked.
        state: asks the same service.
        ensembles: that are measured.
    """

    url: str
    state: TritonState
    ensembles: list[Ensemble]


@contextlib.contextmanager
def own_or_running(options: ServerOptions, names: Sequence[str]) -> Iterator[Served]:
    """Give the server that runs, or one of our own with the models of these ensembles alone.

    Raises:
        BenchError: an ensemble is not there, no model has a configuration of that name, or a server does not answer.
    """
    with ExitStack() as stack:
        url = options.url
        if url is None:
            chosen = choose(ensembles(options.repository), names)
            models = tuple(dict.fromkeys(model for each in chosen for model in each.models))
            file = f"{CONFIGURATIONS}/{options.config_name}.pbtxt"
            if options.config_name and not any((options.repository / model / file).is_file() for model in models):
                raise BenchError(f"None of {', '.join(models)} has {file} in {options.repository}.")
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="trident-bench-")))
            copy = link_models(options.repository, models, folder / "models")
            url = stack.enter_context(served(copy, folder, config_name=options.config_name)).of(options.protocol)
        state = stack.enter_context(TritonState(url, options.protocol))
        yield Served(url, state, choose(state.ensembles(), names))
