"""``trident-serve``: the command line of this package."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from trident_client.doctor import show
from trident_client.options import with_options

from trident_server import doctor, exchange, keys, pidfile, stack
from trident_server.assembly import assemble_backends
from trident_server.compilation import find_toolchain
from trident_server.errors import NotRunningError, ServerError
from trident_server.files import using
from trident_server.machine import Machine
from trident_server.settings import ServerSettings, explain
from trident_server.wheel import find_embedded_triton

app = typer.Typer(add_completion=False)


class SettingsGiven:
    """An option for each setting, which overrides it; else the environment and then its default decide."""

    def parameters(self) -> list[inspect.Parameter]:
        """Return the options as Typer reads them from a function's signature."""
        found = []
        for name, setting in ServerSettings.model_fields.items():
            default = setting.get_default(call_default_factory=True)
            option = typer.Option(
                f"--{name.replace('_', '-')}",
                help=f"{setting.description} (TRIDENT_{name.upper()})",
                show_default=False if default in (None, False, "") else str(default),
            )
            # A type that is made as the program runs.
            kind: Any = setting.annotation
            kind = Annotated[kind | None, option]
            found.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind))
        return found

    def take(self, values: dict[str, Any]) -> ServerSettings:
        """Take the options' values out of a command's, and return the settings.

        Raises:
            BadParameter: a value that is not accepted.
        """
        given = {name: values.pop(name) for name in ServerSettings.model_fields}
        try:
            return ServerSettings(**{name: value for name, value in given.items() if value is not None})
        except ValidationError as error:
            raise typer.BadParameter(explain(error)) from error


@app.callback(invoke_without_command=True)
@with_options(settings=SettingsGiven())
def serve(
    context: typer.Context,
    settings: ServerSettings,
    stop: Annotated[
        bool, typer.Option("--stop", help="Nothing is started: the server that uses the run-time directory is stopped.")
    ] = False,
) -> None:
    """Serve a Triton model repository, with the facade in front, until Ctrl-C.

    Exits with status 0 when it was told to stop, 1 when something failed and 2 when an option is wrong.
    """
    if context.invoked_subcommand is not None:
        context.obj = settings
        return
    try:
        if stop:
            _stop(settings.cache_dir)
        else:
            stack.serve(settings, _console())
    except ServerError as error:
        _console(stderr=True).print(str(error), style="red", markup=False)
        raise typer.Exit(1) from error


@app.command("doctor")
def diagnose(context: typer.Context) -> None:
    """Say what is missing or slow on this machine, and what to do: for the options that stand before this word.

    Exits with status 0 when nothing is missing, though something may be slow, and with 1 otherwise.
    """
    if not show(doctor.examine(context.obj, Machine()), _console()):
        raise typer.Exit(1)


@app.command("backends")
def make_backends(
    folder: Annotated[Path, typer.Argument(help="Made by this; stays where it is, as do the installed packages.")],
) -> None:
    """Compile the backends into a folder, for --backends of servers that have no compiler, as in an image."""
    try:
        with using(folder), tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            assemble_backends(find_embedded_triton(), Path(scratch), find_toolchain()).rename(folder)
            # Other users are to serve from it.
            folder.chmod(0o755)
    except ServerError as error:
        _console(stderr=True).print(str(error), style="red", markup=False)
        raise typer.Exit(1) from error


@app.command("key")
def make_key(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Whose it is, to be told apart by; any words.")] = "",
) -> None:
    """Make a key for the facade, print it once, and note its digest in the file of --api-keys-file, or print that too.

    The facade reads the file again when it changes; a key ends when its line goes.
    """
    key, line = keys.new_key()
    line = " ".join([line, *name.split()])
    file = context.obj.api_keys_file
    try:
        if file is not None:
            keys.append_line(file, line)
    except ServerError as error:
        _console(stderr=True).print(str(error), style="red", markup=False)
        raise typer.Exit(1) from error
    _console().print(key, markup=False)
    if file is None:
        _console(stderr=True).print(f"For the file of keys: {line}", markup=False)


Set = Annotated[str, typer.Argument(help="Name of the set of models, such as sts.")]


@app.command("promote")
def promote(context: typer.Context, name: Set) -> None:
    """Serve what the repository holds of a set now, without a restart: loaded, checked, and only then asked.

    For the server of --cache-dir, which stands before this word. Exits with status 1 where the set is not exchanged,
    and the one before serves on.
    """
    _exchange(exchange.promote, context.obj, name)


@app.command("rollback")
def rollback(context: typer.Context, name: Set) -> None:
    """Serve again what was before the last promote of a set, now and at the next start; the same again undoes it."""
    _exchange(exchange.rollback, context.obj, name)


def _exchange(
    act: Callable[[Path, str, float, Callable[[str], None]], None], settings: ServerSettings, name: str
) -> None:
    try:
        act(settings.cache_dir, name, settings.ready_timeout, lambda text: _console().print(text, markup=False))
    except ServerError as error:
        _console(stderr=True).print(str(error), style="red", markup=False)
        raise typer.Exit(1) from error


def _stop(cache_dir: Path) -> None:
    try:
        _console().print(f"Stopped trident-serve (process {pidfile.stop(cache_dir)}).")
    except NotRunningError as error:
        # What was asked for holds: no server runs.
        _console().print(str(error), markup=False)


def _console(*, stderr: bool = False) -> Console:
    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def main() -> None:
    """Entry point of ``trident-serve``."""
    app()
