"""The commands of ``trident``. What they share is in :mod:`.answering`; what is done with rows, :mod:`.processing`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from trident_client import Tls, contract, doctor
from trident_client._tasks import Truncate
from trident_client.cli import failures, status, tasks
from trident_client.cli.answering import TLS, answer, exit_on_failure, fail, make_client
from trident_client.cli.options import Attempts, Options, Protocol, Seconds, Urls
from trident_client.cli.pages import page
from trident_client.encoding import EncodingFormat
from trident_client.options import Group, with_options

RawScores = Annotated[bool, typer.Option("--raw-scores", help="Logits in place of scores of 0 to 1.")]
PromptName = Annotated[
    str | None, typer.Option(help="Which of the set's prompts stands in front of a text; its default if none.")
]
InputKind = Annotated[
    contract.InputType | None, typer.Option(help="What the texts are, for a set with a prompt for such.")
]
Truncation = Annotated[Truncate, typer.Option(help="Which end a text loses that is too long; error refuses it.")]
app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Ask a running Trident server.\n\n" + failures.EXIT_CODES,
)


def _print_version(wanted: bool) -> None:
    if not wanted:
        return
    try:
        typer.echo(f"trident {metadata.version('trident-client')}")
    except metadata.PackageNotFoundError:
        fail("it is not installed as a package, and has no version", failures.USAGE)
    raise typer.Exit


@app.callback()
def root(
    tls: Annotated[bool, typer.Option("--tls", help="Encrypt, and trust the operating system's authorities.")] = False,
    tls_authorities: Annotated[
        Path | None, typer.Option(help="Encrypt, and trust this PEM file's authorities in their place.")
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="Encrypt, and show this certificate (PEM) where the server asks for one.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="The private key (PEM) of --tls-certificate.")] = None,
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Take the options that stand before a command."""
    try:
        wanted = tls or tls_authorities or tls_certificate or tls_key
        TLS.set(Tls(tls_authorities, tls_certificate, tls_key) if wanted else None)
    except ValueError as error:
        fail(str(error), failures.USAGE)


@app.command(help=page("cola"))
@with_options(options=Group(Options))
def cola(
    options: Options,
    sentences: Annotated[list[str] | None, typer.Argument(help="Sentences to judge.")] = None,
    model: Annotated[str, typer.Option(help="The set of models that judges; see trident models.")] = contract.COLA.name,
    truncate: Truncation = "right",
) -> None:
    """Say how probable it is that sentences are grammatically acceptable."""
    rows = [{"sentence": each} for each in sentences or []]
    answer(tasks.cola(model, truncate), rows, options, _reading(truncate=truncate) or None)


@app.command(help=page("sts"))
@with_options(options=Group(Options))
def sts(
    options: Options,
    sentences: Annotated[list[str] | None, typer.Argument(help="Sentences to compare, two by two.")] = None,
    model: Annotated[
        str, typer.Option(help="The set of models that compares; see trident models.")
    ] = contract.STS.name,
    prompt_name: PromptName = None,
    truncate: Truncation = "right",
    input_type: InputKind = None,
) -> None:
    """Say how similar in meaning pairs of sentences are: the cosine of their embeddings."""
    given = sentences or []
    if len(given) % 2:
        fail(f"sentences are compared two by two; {len(given)} were given", failures.USAGE)
    pairs = [{"sentence_1": one, "sentence_2": two} for one, two in zip(given[::2], given[1::2], strict=True)]
    settings = _reading(prompt_name, truncate, input_type)
    answer(tasks.sts(model, prompt_name, truncate, input_type), pairs, options, settings)


@app.command(help=page("classify"))
@with_options(options=Group(Options))
def classify(
    options: Options,
    texts: Annotated[list[str] | None, typer.Argument(help="Texts to classify.")] = None,
    top_k: Annotated[int, typer.Option(min=1, help="How many labels of a text, the likeliest first.")] = 1,
    model: Annotated[
        str, typer.Option(help="The set of models that classifies; see trident models.")
    ] = contract.CLASSIFY.name,
    raw_scores: RawScores = False,
    truncate: Truncation = "right",
) -> None:
    """Say what texts are by the labels of a classifier."""
    settings = {"top_k": top_k} | ({"raw_scores": True} if raw_scores else {}) | _reading(truncate=truncate)
    rows = [{"text": each} for each in texts or []]
    task = tasks.classify(model, top_k, raw_scores=raw_scores, truncate=truncate)
    answer(task, rows, options, settings)


@app.command(help=page("rerank"))
@with_options(options=Group(Options))
def rerank(
    options: Options,
    query: Annotated[str | None, typer.Argument(help="The query.")] = None,
    texts: Annotated[list[str] | None, typer.Argument(help="Texts that may answer it.")] = None,
    model: Annotated[
        str, typer.Option(help="The set of models that compares; see trident models.")
    ] = contract.RERANK.name,
    top_n: Annotated[
        int | None, typer.Option(min=1, help="So many of the best texts behind a query, the best first; all if none.")
    ] = None,
    raw_scores: RawScores = False,
    truncate: Truncation = "right",
) -> None:
    """Say how well texts belong to a query."""
    if query is not None and not texts:
        fail("give texts behind the query", failures.USAGE)
    if query is None and top_n is not None:
        fail("--top-n is of the texts behind a query; give both", failures.USAGE)
    rows = [{"query": query, "text": each} for each in texts or []] if query is not None else []
    settings = ({"raw_scores": True} if raw_scores else {}) | _reading(truncate=truncate)
    task = tasks.rerank(model, top_n=top_n, raw_scores=raw_scores, truncate=truncate)
    answer(task, rows, options, settings)


@app.command(help=page("embed"))
@with_options(options=Group(Options))
def embed(
    options: Options,
    texts: Annotated[list[str] | None, typer.Argument(help="Texts to embed.")] = None,
    model: Annotated[str, typer.Option(help="The set of models that embeds; see trident models.")] = contract.STS.name,
    prompt_name: PromptName = None,
    truncate: Truncation = "right",
    encoding_format: Annotated[
        EncodingFormat, typer.Option(help="What the numbers are: int8, or signs, eight a number in int8 or uint8.")
    ] = "float",
    input_type: InputKind = None,
) -> None:
    """Embed texts as vectors of unit length."""
    settings = _reading(prompt_name, truncate, input_type)
    if encoding_format != "float":
        settings["encoding_format"] = encoding_format
    rows = [{"text": each} for each in texts or []]
    answer(tasks.embed(model, prompt_name, truncate, encoding_format, input_type), rows, options, settings)


@app.command(help=page("qa"))
@with_options(options=Group(Options))
def qa(
    options: Options,
    question: Annotated[str | None, typer.Argument(help="The question.")] = None,
    context: Annotated[str | None, typer.Argument(help="The text with the answer; standard input if none.")] = None,
    top_k: Annotated[int, typer.Option(min=1, max=contract.MAX_ANSWERS, help="How many answers, the best first.")] = 1,
    max_answer_tokens: Annotated[
        int | None,
        typer.Option(
            min=1, max=contract.MAX_ANSWER_TOKENS, help=f"In the longest answer; {contract.DEFAULT_ANSWER_TOKENS}."
        ),
    ] = None,
    no_answer: Annotated[
        Literal["on", "off"], typer.Option(help="Whether a model that was taught so may say that there is none.")
    ] = "on",
    model: Annotated[str, typer.Option(help="The set of models that answers; see trident models.")] = contract.QA.name,
) -> None:
    """Find the answers to questions in texts of any length."""
    if question is not None and context is None:
        if sys.stdin.isatty():
            fail("give the context behind the question, or on standard input", failures.USAGE)
        context = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    rows = [] if question is None else [{"question": question, "context": context}]
    settings = {"top_k": top_k, "max_answer_tokens": max_answer_tokens}
    if no_answer == "off":
        settings["no_answer"] = False
    task = tasks.qa(model, top_k, max_answer_tokens, no_answer=no_answer == "on")
    answer(task, rows, options, settings)


@app.command(help=page("models"))
def models(
    as_json: Annotated[bool, typer.Option("--json", help="JSON in place of a table.")] = False,
    url: Urls = None,
    protocol: Protocol = "http",
    timeout: Seconds = 30.0,
    attempts: Attempts = 5,
) -> None:
    """List the sets of models that are served."""
    with exit_on_failure(), make_client(url, protocol, timeout, attempts) as client:
        status.show_models(client, as_json=as_json)


@app.command(help=page("ready"))
def ready(
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait until it is.")] = 0.0,
    url: Urls = None,
    protocol: Protocol = "http",
    timeout: Seconds = 5.0,
) -> None:
    """Say whether every model answers, of each server."""
    with exit_on_failure():
        # gRPC's channel needs a second attempt to find a server that was restarted.
        servers = {each: make_client([each], protocol, timeout, 2) for each in url or [status.default_url(protocol)]}
        all_ready = status.show_ready(servers, wait)
    raise typer.Exit(failures.OK if all_ready else failures.NOT_SERVING)


@app.command(help=page("watch"))
def watch(
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two tables.")] = 1.0,
    count: Annotated[int, typer.Option(min=0, help="Tables to print; 0 goes on until Ctrl-C.")] = 0,
    metrics: Annotated[
        list[str] | None,
        typer.Option("--metrics-url", help="host:port of Triton's metrics. [each server's, port 8012]"),
    ] = None,
    url: Urls = None,
    protocol: Protocol = "http",
    timeout: Seconds = 5.0,
) -> None:
    """Watch what the models do: a live table from Triton's statistics and metrics."""
    with exit_on_failure(), make_client(url, protocol, timeout, 1) as client, contextlib.suppress(KeyboardInterrupt):
        status.watch(client, metrics or [], interval, count)


@app.command("doctor", help=page("doctor"))
def diagnose(
    parts: Annotated[
        list[doctor.Part] | None,
        typer.Argument(help="What this machine is for; all three are looked at when none is named."),
    ] = None,
    url: Urls = None,
    protocol: Protocol = "http",
    timeout: Seconds = 5.0,
) -> None:
    """Say what is missing or slow on this machine, and what to do."""

    def ask_servers() -> Iterator[doctor.Finding]:
        for each in url or [status.default_url(protocol)]:
            with make_client([each], protocol, timeout, 2) as client:
                yield from doctor.ask_server(client, each, named=bool(url))

    console = Console(highlight=False, soft_wrap=True)
    complete = True
    with exit_on_failure():
        for part in parts or doctor.Part:
            console.print(f"{part.value}:")
            complete &= doctor.show(doctor.examine(part, ask_servers, named=bool(parts)), console)
    raise typer.Exit(failures.OK if complete else failures.BAD_ROWS)


def _reading(
    prompt_name: str | None = None, truncate: Truncate = "right", input_type: contract.InputType | None = None
) -> dict[str, Any]:
    """Return what is not the default, as a run is told apart by."""
    given = {
        "prompt_name": prompt_name,
        "truncate": None if truncate == "right" else truncate,
        "input_type": input_type,
    }
    return {name: value for name, value in given.items() if value is not None}


def main() -> None:
    """Run the command line."""
    app()
