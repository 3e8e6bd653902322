"""What the commands share: where rows come from and go to, and how a command ends."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from contextvars import ContextVar
from typing import IO, Any, NoReturn

import typer
from rich.console import Console

from trident_client import Retry, Timeout, Tls, TridentClient
from trident_client.cli import failures, files, tasks
from trident_client.cli.options import Engine, Options, Protocol
from trident_client.cli.places import Place, Remote, local_copy, place_of
from trident_client.cli.processing import Report, RowProcessor
from trident_client.cli.progress import ProgressReport
from trident_client.cli.readers import Source, rows_of
from trident_client.cli.writers import OutputFile
from trident_client.errors import TridentError

#: What the options that stand before a command say.
TLS: ContextVar[Tls | None] = ContextVar("tls", default=None)


def answer(
    task: tasks.Task, given: list[dict[str, Any]], options: Options, settings: dict[str, Any] | None = None
) -> None:
    """Answer the rows that were given, or those of a file or standard input, and end with an exit code.

    ``settings`` are further options that change the answers: a run is resumed only with the same.
    """
    given = [{name: _as_utf8(text) for name, text in row.items()} for row in given]
    column_names = options.columns.split(",") if options.columns else None
    input, output = (None if each is None else place_of(each) for each in (options.input, options.output))
    with exit_on_failure(input, output):
        if column_names and not task.required <= len(column_names) <= len(task.columns):
            raise failures.UsageError(f"--columns takes {len(task.columns)}: {','.join(task.names)}")
        if input and given:
            raise failures.UsageError("texts are given as arguments or with --input, not both")
        if options.resume and not (input and output):
            raise failures.UsageError("--resume goes on with files: give --input and --output")
        if options.resume and isinstance(output, Remote):
            raise failures.UsageError(f"--resume goes on with files of this machine; --output {output} is none")
        if input and output and output.resolve() == input.resolve():
            raise failures.UsageError("--output would overwrite --input")
        with make_client(
            options.url, options.protocol, options.timeout, options.attempts, options.concurrency
        ) as client:
            job = files.FileAnswering(task, client, column_names, options.format, settings, options.resume)
            if input and files.names_many(input):
                raise typer.Exit(_answer_many(job, input, output, options.engine, options.quiet))
            if options.engine != "here":
                raise failures.UsageError("--engine is for many files: give --input 'folder/*.parquet' and --output")
            report = _answer_one(job, given, input, output, options.quiet)
    raise typer.Exit(failures.BAD_ROWS if report.bad else failures.OK)


def _answer_one(
    job: files.FileAnswering, given: list[dict[str, Any]], input: Place | None, output: Place | None, quiet: bool
) -> Report:
    """Answer what was given, one file or standard input."""
    if output and output.is_dir():
        raise failures.UsageError(f"--output {output} is a folder; a file is accepted")
    kind = files.output_kind(output) if output else "jsonl"
    source = None if given else job.open(input) if input else _standard_input(job.format, job.task)
    with (
        closing(source) if source else nullcontext(),
        ProgressReport(_console(), source, quiet=quiet or bool(given)) as progress_report,
    ):
        processor = RowProcessor(job.task, job.client, job.columns, progress_report.row)
        processor.check_model()
        if input and output and source:
            report = job.answer(source, input, output, progress_report.row)
        else:
            if source:
                processor.check_columns(source)
            rows = source or rows_of(given)
            with _opened(output) if output else nullcontext(sys.stdout.buffer) as stream:
                report = processor.to_stream(rows, stream, kind, source)
        progress_report.end(report)
    return report


@contextmanager
def _opened(output: Place) -> Iterator[IO[bytes]]:
    with local_copy(output) as file, OutputFile(file) as stream:
        yield stream


def _answer_many(job: files.FileAnswering, input: Place, output: Place | None, engine: Engine, quiet: bool) -> int:
    """Answer a folder's files; return the exit code."""
    if output is None or output.is_file():
        raise failures.UsageError(f"--output for {input} is a folder, which has a file for each")
    found = files.find(input, output)
    total, failed = Report(), 0
    with ProgressReport(_console(), found, quiet=quiet) as progress_report:
        RowProcessor(job.task, job.client, job.columns, progress_report.row).check_model()
        progress_report.note(f"{len(found.wanted):,} files to answer, {found.before:,} from before")
        for path, outcome in files.ENGINES[engine](job, found, progress_report.count):
            if isinstance(outcome, Report):
                progress_report.file(path, outcome)
                total.rows, total.bad = total.rows + outcome.rows, total.bad + outcome.bad
                total.resumed += outcome.resumed
            else:
                failed += 1
                _console().print(f"trident: {path}: {outcome}", style="red", markup=False)
        progress_report.end(total)
    return failures.USAGE if failed else failures.BAD_ROWS if total.bad else failures.OK


def _as_utf8(argument: str) -> str:
    """Return an argument's bytes read as UTF-8, where they are that, whatever the locale took them for."""
    try:
        return os.fsencode(argument).decode("utf-8")
    except UnicodeError:
        return argument


def _standard_input(format: str | None, task: tasks.Task) -> Source:
    if sys.stdin.isatty():
        raise failures.UsageError("give texts as arguments, with --input, or on standard input; see --help")
    return Source(sys.stdin.buffer, format or "lines", task.names)


def make_client(
    url: list[str] | None, protocol: Protocol, timeout: float, attempts: int, concurrency: int = 4
) -> TridentClient:
    """Return a client as the options describe it; options that mean nothing are a UsageError."""
    try:
        limits = Timeout(connect=min(5.0, timeout), read=timeout)
        retry = Retry(attempts=attempts)
        return TridentClient(
            url, protocol=protocol, timeout=limits, concurrency=concurrency, retry=retry, tls=TLS.get()
        )
    except ValueError as error:
        raise failures.UsageError(str(error)) from error


@contextmanager
def exit_on_failure(input: Place | None = None, output: Place | None = None) -> Iterator[None]:
    """End with an exit code and a line where something fails; what the client warns of is a line too."""
    more = "; --resume goes on with what was answered" if input and output else ""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: _console().print(
                f"trident: {message}", style="yellow", markup=False
            )
            yield
    except failures.UsageError as error:
        fail(str(error), failures.USAGE)
    except TridentError as error:
        fail(failures.line(error) + more, failures.exit_code(error))
    except KeyboardInterrupt:
        fail(f"interrupted{more}", failures.INTERRUPTED)
    except BrokenPipeError:
        # Whoever read standard output has enough; what is left of it goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(failures.OK) from None
    except OSError as error:
        fail(f"{error.filename or output or 'the output'} failed: {error.strerror or error}{more}", failures.USAGE)


def _console() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)


def fail(message: str, code: int) -> NoReturn:
    """End with a line on standard error."""
    _console().print(f"trident: {message}", style="red", markup=False)
    raise typer.Exit(code)
