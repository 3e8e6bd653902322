"""Writes ``docs/reference/`` from the code: every request, command line, setting, tensor and metric, and the client.

``--check`` writes nothing, and fails where a page is not what the code says.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import reference_of_client
import reference_of_models
import typer
from pydantic_settings import BaseSettings
from typer.cli import get_docs_for_click

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "reference"
MADE = "<!-- Written by scripts/generate_reference.py; change the code, and run it. -->\n\n"
#: Lines of a page, beside the two above it.
LONGEST = 298
#: Groups of commands that have a page of their own, for a page of all would be too long to read.
OWN_PAGES = {
    "trident": ("cola", "sts", "embed", "qa", "classify", "rerank"),
    "trident-train": ("finetune", "sweep", "tune", "evaluate", "soup", "export", "distill"),
}
#: How the pages are listed, by how their names begin.
GROUPS = {
    "Over HTTP": ("http", "metrics"),
    "From Python": ("client",),
    "Of Triton": ("tensors",),
    "Settings": ("settings",),
    "On the command line": ("trident",),
}
#: Tags of the requests that other services' clients make.
OTHERS = ("Hugging Face", "OpenAI")


def command_pages() -> Iterator[tuple[str, str]]:
    """Yield the pages of the command lines."""
    from trident_bench.cli import app as bench
    from trident_client.cli.app import app as client
    from trident_server.cli import app as server
    from trident_training.cli import app as training

    for name, app in {
        "trident": client,
        "trident-serve": server,
        "trident-train": training,
        "trident-bench": bench,
    }.items():
        command: Any = typer.main.get_command(app)
        for verb in OWN_PAGES.get(name, ()):
            yield f"{name}-{verb}", _command(command.commands.pop(verb), f"{name} {verb}")
        yield name, _command(command, name)


def _command(command: Any, name: str) -> str:
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name=name)
    # Examples in a help text keep their lines.
    return text.replace("\b\n", "")


def settings_page() -> str:
    """Return the page of the settings."""
    from trident_api.settings import ApiSettings
    from trident_server.settings import ServerSettings
    from trident_training.checkpoints.wheels import CacheSettings

    text = "# Settings\n\nEach is an environment variable; those of the server are options of `trident-serve` too.\n"
    for title, settings in {
        "trident-serve": ServerSettings,
        "The facade": ApiSettings,
        "Encoders and models that are kept": CacheSettings,
    }.items():
        text += f"\n## {title}\n\n{settings.__doc__.splitlines()[0]}\n\n" + _table(settings)
    return text


def _table(settings: type[BaseSettings]) -> str:
    rows = ["| variable | default | |", "|---|---|---|"]
    for name, field in settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = "" if default in (None, "", ()) else f"`{default}`"
        variable = field.validation_alias or f"TRIDENT_{name.upper()}"
        rows.append(f"| `{variable}` | {shown} | {field.description or ''} |")
    return "\n".join(rows) + "\n"


def http_pages() -> Iterator[tuple[str, str]]:
    """Yield the pages of the facade's requests, of its OpenAPI document: its own, and those of others' clients."""
    from trident_api.app import create_app
    from trident_api.settings import ApiSettings

    document = create_app(ApiSettings()).openapi()
    made = {"http": f"# Requests of the facade\n\n{document['info'].get('description', '')}\n"}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tag = operation.get("tags", [""])[0]
            name = f"http-{tag.lower().replace(' ', '-')}" if tag in OTHERS else "http"
            text = made.get(name, f"# Requests of the facade, as {tag}'s clients make them\n")
            text += f"\n## {method.upper()} {path}\n\n{operation.get('description') or operation['summary']}\n"
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                text += f"\nBody, `{kind}`:\n\n" + _fields(document, content["schema"])
            made[name] = text + f"\nAnswers: {', '.join(operation['responses'])}.\n"
    yield from made.items()


def _fields(document: dict[str, Any], schema: dict[str, Any]) -> str:
    rows = ["| field | type | |", "|---|---|---|"]
    choices = schema.get("anyOf") or schema.get("oneOf") or [schema]
    for choice in choices:
        resolved = _resolve(document, choice)
        for name, field in resolved.get("properties", {}).items():
            needed = "" if name in resolved.get("required", ()) else "optional. "
            text = " ".join(str(field.get("description", "")).split())
            rows.append(f"| `{name}` | {_type(document, field)} | {needed}{text} |")
    return "\n".join(dict.fromkeys(rows)) + "\n"


def _resolve(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    return document["components"]["schemas"][reference.rpartition("/")[2]] if reference else schema


def _type(document: dict[str, Any], field: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_type(document, each) for each in field["anyOf"] if each.get("type") != "null")
    resolved = _resolve(document, field)
    if resolved.get("type") == "array":
        return f"list of {_type(document, resolved['items'])}" if "items" in resolved else "list"
    return str(resolved.get("type") or resolved.get("title") or "any")


def pages() -> dict[str, str]:
    """Return all pages by their names."""
    made = {**dict(http_pages()), "settings": settings_page()}
    made |= {"tensors": reference_of_models.tensors_page(), "metrics": reference_of_models.metrics_page()}
    made |= dict(reference_of_client.pages()) | dict(command_pages())
    if ungrouped := [name for name in made if not name.startswith(sum(GROUPS.values(), ()))]:
        raise ValueError(f"in no group of the first page: {', '.join(ungrouped)}")
    made["index"] = "# Reference\n\nMade from the code, and tested to be what it says.\n"
    for group, prefixes in GROUPS.items():
        names = [name for name in made if name.startswith(prefixes)]
        listed = "\n".join(f"- [{made[name].splitlines()[0].lstrip('# ')}]({name}.md)" for name in names)
        made["index"] += f"\n## {group}\n\n{listed}\n"
    long = [name for name, text in made.items() if len(text.splitlines()) > LONGEST]
    if long:
        raise ValueError(f"more than {LONGEST} lines, so give parts of them a page of their own: {', '.join(long)}")
    return {f"{name}.md": f"{MADE}{text.rstrip()}\n" for name, text in made.items()}


def main() -> None:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    # What a checkout has, whoever runs this and with whatever settings.
    os.chdir(ROOT)
    for name in [each for each in os.environ if each.startswith("TRIDENT_")]:
        del os.environ[name]
    made = pages()
    there = {file.name: file.read_text("utf-8") for file in PAGES.glob("*.md")}
    if check:
        for name in sorted(made.keys() | there.keys()):
            before, after = there.get(name, "").splitlines(), made.get(name, "").splitlines()
            sys.stderr.writelines(f"{line}\n" for line in difflib.unified_diff(before, after, name, name, lineterm=""))
        if made != there:
            sys.exit("docs/reference/ is not what the code says: run scripts/generate_reference.py")
        return
    PAGES.mkdir(parents=True, exist_ok=True)
    for name in there.keys() - made.keys():
        (PAGES / name).unlink()
    for name, text in made.items():
        (PAGES / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
