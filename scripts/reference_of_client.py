"""The client's part of ``docs/reference/``: all that ``trident_client`` exports, by its signatures and docstrings."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Any

#: Characters of a line of code.
WIDTH = 100
#: Sections of a docstring that list names, and what they are called on a page.
LISTS = {"Args": "", "Attributes": "", "Raises": "Raises:"}
#: A heading for what stands in :data:`trident_client.__all__`, by page; a test of nothing left out is in :func:`pages`.
TYPES = ("Answer", "Label", "Ranked", "ModelInfo", "ModelStatistics", "ServerStatus")
SETTINGS = ("Timeout", "Retry", "Balancing", "Tls")
#: Methods that ask for no task.
SERVERS = ("infer", "models", "ready", "servers", "statistics", "close")
TRANSPORTS = ("Request", "Transport", "AsyncTransport", "FakeTransport", "AsyncFakeTransport")


def pages() -> Iterator[tuple[str, str]]:
    """Yield the pages of the client.

    Raises:
        ValueError: something that is exported stands on none of them.
    """
    import trident_client as client
    from trident_client import _columns, contract, pipelines, ray
    from trident_client import errors as tree

    errors = [name for name in vars(tree) if name.endswith(("Error", "Warning")) and not name.startswith("_")]
    known = {"TridentClient", "AsyncTridentClient", "Response", "pipeline", *TYPES, *SETTINGS, *TRANSPORTS, *errors}
    if missing := set(client.__all__) ^ known:
        raise ValueError(f"on no page of the client, or gone: {', '.join(sorted(missing))}")

    methods = _methods(client.TridentClient)
    lists = [each for name, each in methods.items() if name not in SERVERS and not name.startswith("stream_")]
    yield (
        "client",
        f"# `trident_client`: the client\n\n{_named(client.TridentClient)}\n"
        + "\n".join(_callable(each, "###") for each in lists),
    )
    streams = [each for name, each in methods.items() if name.startswith("stream_")]
    yield (
        "client-streams",
        "# `trident_client`: streams, servers, and the event loop's client\n\n## Streams\n\n"
        "Methods of `TridentClient` for inputs that do not fit into memory.\n\n"
        + "\n".join(_callable(each, "###") for each in streams)
        + "\n## Servers, and any other model\n\n"
        + "\n".join(_callable(methods[name], "###") for name in SERVERS)
        + "\n"
        + _asynchronous(client, methods),
    )
    yield (
        "client-types",
        "# `trident_client`: what comes back, and settings\n\n## Types of arguments\n\n"
        + _aliases()
        + "\n"
        + _all(client, (*TYPES, *SETTINGS)),
    )
    yield (
        "client-errors",
        "# `trident_client`: errors and warnings\n\n" + _errors_tree() + "\n" + _all(client, errors),
    )
    made = [pipelines.TextClassificationPipeline, pipelines.SentenceSimilarityPipeline]
    yield "client-transports", "# `trident_client`: requests and transports\n\n" + _all(client, TRANSPORTS)
    yield (
        "client-others",
        "# `trident_client`: pipelines and Ray\n\n"
        + _callable(client.pipeline)
        + "\n"
        + "\n".join(_named(each) for each in (*made, pipelines.QuestionAnsweringPipeline))
        + "\n## `trident_client.ray`\n\nTasks for Ray Data's `map_batches`; the functions of `trident_client.spark`"
        " (`acceptability_udf`, `answer_udf`, `embed_udf`, `similarity_udf`) take the same arguments.\n\n"
        + "\n".join(
            _named(each, "###") for each in (*(getattr(ray, name) for name in ray.__all__), _columns.ColumnTask)
        ),
    )
    parts = (contract.TextInput, contract.NumberInput, contract.Output, contract.Ensemble, contract.TaskSpec)
    yield (
        "client-contract",
        "# `trident_client.contract`: what a task is\n\n"
        + "\n".join(_named(each) for each in parts)
        + "\n"
        + "\n".join(_callable(each) for each in (contract.register, contract.registered)),
    )


def _all(module: types.ModuleType, names: Iterable[str]) -> str:
    return "\n".join(_named(getattr(module, name)) for name in names)


def _aliases() -> str:
    """Return a table of the names that stand for types in signatures."""
    from trident_client import _callbacks, _settings, _tasks, _types

    listed = {
        "OnTruncation": _callbacks.OnTruncation,
        "OnUnknown": _callbacks.OnUnknown,
        "OnTokenCounts": _callbacks.OnTokenCounts,
        "OnBadItem": _callbacks.OnBadItem,
        "Truncate": _tasks.Truncate,
        "Protocol": _settings.Protocol,
        "Array": _types.Array,
        "Response": _types.Response,
        "Configuration": _types.Configuration,
        "Statistics": _types.Statistics,
    }
    rows = [f"| `{name}` | `{_plain(str(alias))}` |" for name, alias in listed.items()]
    return "\n".join(["| name | stands for |", "|---|---|", *rows]) + "\n"


def _errors_tree() -> str:
    """Return the tree that stands in the module of the errors."""
    from trident_client import errors

    text = inspect.cleandoc(errors.__doc__ or "")
    tree = inspect.cleandoc(text.partition("::\n")[2].partition("\n\nEach says")[0])
    return f"```text\n{tree}\n```\n"


def _asynchronous(client: types.ModuleType, methods: dict[str, Callable[..., Any]]) -> str:
    """Return what the event loop's client has that the other has not, and the reverse: nothing but how it is called."""
    other = _methods(client.AsyncTridentClient)
    if other.keys() != methods.keys():
        raise ValueError(f"one of the clients has {other.keys() ^ methods.keys()}, the other not")
    awaited = [name for name, each in other.items() if inspect.iscoroutinefunction(each)]
    streams = [name for name in other if name.startswith("stream_")]
    plain = [name for name in other if name not in (*awaited, *streams)]
    rows = [
        f"| {how} | {', '.join(f'`{name}`' for name in names)} |"
        for how, names in (("awaited", awaited), ("`async for`", streams), ("called", plain))
    ]
    text, _ = _described(inspect.getdoc(client.AsyncTridentClient) or "")
    return (
        f"## AsyncTridentClient\n\n{text}\n\nIts arguments and methods are those of `TridentClient`, with the same"
        " names; its streams take asynchronous iterables too, and it is entered by `async with`.\n\n"
        + "\n".join(["| how | methods |", "|---|---|", *rows])
        + "\n"
    )


def _methods(kind: type) -> dict[str, Callable[..., Any]]:
    """Return a class's own public methods, in the order in which they are written."""
    return {name: each for name, each in vars(kind).items() if inspect.isfunction(each) and not name.startswith("_")}


def _named(kind: type, heading: str = "##") -> str:
    """Return a class: how it is made, what it is, and what it does beside."""
    text, lists = _described(inspect.getdoc(kind) or "")
    made = "" if issubclass(kind, BaseException) or _is_protocol(kind) else f"```python\n{_signature(kind)}\n```\n\n"
    bases = [base.__name__ for base in kind.__bases__ if base is not object and issubclass(kind, BaseException)]
    based = f"Of the kind {' and '.join(f'`{base}`' for base in bases)}.\n\n" if bases else ""
    whole = f"{heading} {kind.__name__}\n\n{made}{based}{text}\n{lists}"
    if kind.__name__.endswith("Client"):
        return whole
    further = [each for name, each in vars(kind).items() if inspect.isfunction(each) and _is_shown(name, kind)]
    return whole + "".join(f"\n{_callable(each, f'{heading}#')}" for each in further)


def _is_protocol(kind: type) -> bool:
    return bool(getattr(kind, "_is_protocol", False))


def _is_shown(name: str, kind: type) -> bool:
    """Say whether a method is told of: of pipelines how they are called, of transports and the rest what is public."""
    if kind.__name__.startswith(("Fake", "AsyncFake")):
        return False
    return not name.startswith("_") or (name == "__call__" and kind.__name__.endswith("Pipeline"))


def _callable(function: Callable[..., Any], heading: str = "##") -> str:
    """Return a function: its signature, what it does, its arguments and what it raises."""
    text, lists = _described(inspect.getdoc(function) or "")
    return f"{heading} {function.__name__.strip('_')}\n\n```python\n{_signature(function)}\n```\n\n{text}\n{lists}"


def _signature(made: Any) -> str:
    """Return a signature as code, in one line if it fits, else with a line for each argument."""
    signature = inspect.signature(made)
    arguments, named = [], False
    for parameter in signature.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not named:
            arguments.append("*")
        named = named or parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        told = f"{stars}{parameter.name}"
        if parameter.annotation is not parameter.empty:
            told += f": {_plain(_annotation(parameter.annotation))}"
        if parameter.default is not parameter.empty:
            told += f" = {_default(parameter.default)}"
        arguments.append(told)
    back = signature.return_annotation
    tail = "" if isinstance(made, type) or back is signature.empty else f" -> {_plain(_annotation(back))}"
    name = f"{'async ' if inspect.iscoroutinefunction(made) else ''}{made.__name__}"
    line = f"{name}({', '.join(arguments)}){tail}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{name}(", *(f"    {each}," for each in arguments), f"){tail}"])


def _annotation(annotation: Any) -> str:
    if isinstance(annotation, typing.ForwardRef):
        return annotation.__forward_arg__
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _default(value: Any) -> str:
    if inspect.isfunction(value):
        return str(value.__name__)
    if isinstance(value, str):
        return f'"{value}"'
    # Of a dataclass, what is made anew each time.
    return "..." if "factory" in repr(value) else repr(value)


def _plain(annotation: str) -> str:
    """Return a type without the modules that its names come from."""
    return re.sub(r"\b(?:_?[a-z_]+\.)+(?=[A-Za-z])", "", annotation)


def _described(docstring: str) -> tuple[str, str]:
    """Return a docstring's text, and its lists of names, as Markdown."""
    parts = re.split(rf"^({'|'.join(LISTS)}):\n", docstring, flags=re.MULTILINE)
    lists = "".join(
        (f"\n{LISTS[title]}\n" if LISTS[title] else "") + "\n" + _entries(body)
        for title, body in zip(parts[1::2], parts[2::2], strict=True)
    )
    return _markdown(parts[0].strip()), lists


def _entries(body: str) -> str:
    """Return a list's entries: a name, and what is said of it on as many lines as it takes."""
    entries = re.split(r"^(?=\S)", inspect.cleandoc(body), flags=re.MULTILINE)
    lines = []
    for entry in filter(str.strip, entries):
        name, _, text = " ".join(entry.split()).partition(": ")
        lines.append(f"- `{name}`: {_markdown(text)}")
    return "\n".join(lines) + "\n"


def _markdown(text: str) -> str:
    """Return a text with its roles and its code as Markdown has them."""
    text = re.sub(r":(?:meth|class|data|func):`[~.]?(?:trident_client\.)?([^`]*)`", r"`\1`", text)
    text = re.sub(r":mod:`\.?([^`]*)`", r"`\1`", text)
    return text.replace("``", "`")
