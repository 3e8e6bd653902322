"""Triton and the facade as one: started together, announced, watched and stopped together."""

from __future__ import annotations

import contextlib
import resource
import signal
import time
from collections.abc import Iterator
from types import FrameType

from rich.console import Console

from trident_server import installation, pidfile, shipped
from trident_server.assembly import check_path
from trident_server.building import build_models
from trident_server.child import ChildServer
from trident_server.facade import FacadeProcess, check_installed
from trident_server.files import using
from trident_server.ports import check_free
from trident_server.process import TritonProcess, trace_arguments
from trident_server.repository import check_repository, chosen_models
from trident_server.restarting import Restarter
from trident_server.served import Served
from trident_server.settings import ServerSettings
from trident_server.wheel import find_embedded_triton

WATCH_SECONDS = 0.2
MANY_FILES = 65_536
# A client's channel is made anew every minute or two: so facades elsewhere find replicas that were added since.
REPLICA = ("--grpc-max-connection-age=60000", "--grpc-max-connection-age-grace=60000")
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _StopRequested(BaseException):
    """SIGINT, SIGTERM or SIGHUP arrived. Not an Exception: nothing on the way may take it for a failure."""


def serve(settings: ServerSettings, console: Console) -> None:
    """Start Triton and the facade, say where they are, and return when a signal has stopped them.

    Args:
        settings: what to serve, and where.
        console: where progress and the addresses are printed.

    Raises:
        ServerError: nothing could be started, or what was started died. Everything is stopped.
    """
    find_embedded_triton()
    if not settings.triton_only:
        check_installed()
    copied = shipped.is_copy(settings.repository)
    if not copied:
        with using(settings.repository):
            installation.finish(settings.repository)
        check_repository(settings.repository, settings.config_name, settings.sets)
    _allow_many_connections()
    try:
        with _stop_signals(), pidfile.hold(settings.cache_dir):
            if copied:
                build_models(settings.repository, settings.sets, console)
                check_repository(settings.repository, settings.config_name, settings.sets)
            check_free(settings.host, settings.ports)
            _run(settings, console)
    except _StopRequested:
        _say(console, "Stopped.")


def _say(console: Console, text: str, *, markup: bool = False) -> None:
    """Print a line. Where nobody takes it any more, what serves goes on: rich would exit, and a full disk raise."""
    with contextlib.suppress(OSError, SystemExit):
        console.print(text, markup=markup)


def _allow_many_connections() -> None:
    """Let children open as many files as this user may: by default 1,024, which as many idle clients use up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and (hard == resource.RLIM_INFINITY or soft < hard):
        wanted = MANY_FILES if hard == resource.RLIM_INFINITY else min(MANY_FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def _run(settings: ServerSettings, console: Console) -> None:
    started, served = time.monotonic(), Served(settings.cache_dir)
    check_path(settings.cache_dir.resolve(), "cache-dir")
    models = chosen_models(settings.repository, settings.sets)
    with contextlib.ExitStack() as children, _saying_that_it_stops(console):
        triton = TritonProcess(
            repository=served.models,
            # Where nothing changes, it is ready only when every model is.
            polled=not settings.fixed,
            is_changing=served.is_exchanged,
            host=settings.triton_host,
            **settings.triton_ports,
            cache_dir=settings.cache_dir,
            log_file=settings.cache_dir / "triton.log",
            ready_timeout=settings.ready_timeout,
            config_name=settings.config_name,
            shared_memory=settings.shared_memory,
            isolated=settings.isolated,
            backends=settings.backends,
            tls=settings.tls,
            patience=settings.hang_timeout,
            extra_args=[
                f"--log-verbose={settings.log_verbose}",
                *trace_arguments(settings.otlp_endpoint),
                *(REPLICA if settings.triton_only else ()),
            ],
            on_model_loaded=lambda name: _say(console, f"  loaded {name}"),
        )
        served.fill(settings.repository, models, triton.http_url, fixed=settings.fixed)
        facade = FacadeProcess(
            host=settings.host,
            port=settings.port,
            triton_url=triton.http_url,
            triton_grpc_url=triton.grpc_url,
            log_file=settings.cache_dir / "facade.log",
            ready_timeout=settings.ready_timeout,
            settings=facade_settings(settings),
            tls=settings.tls,
        )
        _say(console, "Starting Triton ...")
        running: list[ChildServer] = [children.enter_context(triton)]
        if not settings.triton_only:
            _say(console, "Starting the facade ...")
            running.append(children.enter_context(facade))
        _announce(settings, triton, facade, time.monotonic() - started, console)
        watched = [Restarter(child, settings.restarts, lambda text: _say(console, text)) for child in running]
        while True:
            # Triton first, which the facade needs to start; meanwhile the facade says that Triton is away.
            for each in watched:
                each.check()
            time.sleep(WATCH_SECONDS)


def facade_settings(settings: ServerSettings) -> dict[str, object]:
    """Return what the facade is told of the server's settings; what is None is left to its environment."""
    return {
        "api_keys_file": settings.api_keys_file,
        "otlp_endpoint": settings.otlp_endpoint,
        "models": ",".join(settings.sets) or None,
        # Where gRPC takes TLS alone, under a name that need not be this machine's, HTTP is this machine's own; and
        # Triton 24.10's gRPC loses the trace's context of every third request.
        "triton_protocol": "http" if settings.tls or settings.otlp_endpoint else None,
    }


@contextlib.contextmanager
def _saying_that_it_stops(console: Console) -> Iterator[None]:
    try:
        yield
    except _StopRequested:
        # The terminal may be what is gone.
        _say(console, "Stopping ...")
        raise


def _announce(
    settings: ServerSettings, triton: TritonProcess, facade: FacadeProcess, seconds: float, console: Console
) -> None:
    logs = [triton.log_file]
    if settings.triton_only:
        _say(console, f"[bold green]Triton is ready[/]: http://{triton.http_url} ({seconds:.1f} s)", markup=True)
    else:
        _say(console, f"[bold green]Trident is ready[/]: {facade.url} ({seconds:.1f} s)", markup=True)
        _say(console, f"  documentation  {facade.url}/docs")
        logs.append(facade.log_file)
    _say(console, f"  Triton         HTTP {triton.http_url}  gRPC {triton.grpc_url}  metrics {triton.metrics_url}")
    _say(console, f"  logs           {'  '.join(map(str, logs))}")
    if triton.isolated_because is not None:
        _say(console, f"  slower         models run in processes of their own: {triton.isolated_because}")
    _say(console, "Ctrl-C stops it.")


@contextlib.contextmanager
def _stop_signals() -> Iterator[None]:
    """Raise _StopRequested on the first stop signal and ignore later ones: nothing interrupts the clean-up."""

    def request_stop(number: int, frame: FrameType | None) -> None:
        for each in STOP_SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise _StopRequested

    # nohup asks for SIGHUP to be ignored, and means it.
    numbers = [each for each in STOP_SIGNALS if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN]
    before = {number: signal.signal(number, request_stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
