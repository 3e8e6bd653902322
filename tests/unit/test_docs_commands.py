"""Every command that a page names is one that there is, with options that it takes: in its blocks and in its text."""

import re
import shlex
from pathlib import Path

import click
import pytest
import typer
from trident_api.app import create_app
from trident_api.settings import ApiSettings
from trident_bench.cli import app as bench
from trident_client.cli.app import app as client
from trident_server.cli import app as server
from trident_training.cli import app as training

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "client/README.md", "bench/README.md", "docker/README.md"]
PAGES = [*(ROOT / name for name in NAMES), *sorted((ROOT / "docs").glob("*.md"))]
APPS = {"trident": client, "trident-serve": server, "trident-train": training, "trident-bench": bench}
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
VARIABLES = set(re.findall(r"\$\(([A-Z_]+)\)|^([A-Z_]+) +\?=", MAKEFILE, re.MULTILINE))
#: Of others; what is done with them is not for these pages to test.
FOREIGN = {".", "curl", "docker", "haproxy", "hf", "kubectl", "pip", "printf", "python3.11", "torchrun"}


def lines(page: Path) -> list[tuple[str, bool]]:
    """Return a page's command lines, and of each whether it stands in a block and so is whole."""
    # The task that a reader adds has the verbs of the others.
    text = re.sub(r"(?<=trident-train export )toy", "cola", page.read_text("utf-8"))
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    inside = [line.strip() for block in blocks for line in joined(block)]
    outside = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    spans = [
        " ".join(span.split()) for span in re.findall(r"`((?:make|trident(?:-serve|-train|-bench)?)\s[^`]+)`", outside)
    ]
    return [(line, True) for line in inside] + [(span, False) for span in spans]


def joined(block: str) -> list[str]:
    """Return the lines of a shell's block: those that go on, by a backslash or within quotation marks, as one."""
    found: list[str] = []
    waiting = ""
    for line in block.splitlines():
        waiting += line.removesuffix("\\")
        try:
            shlex.split(waiting, comments=True)
        except ValueError:
            continue
        if not line.endswith("\\"):
            found.append(waiting)
            waiting = ""
    return [line for line in found if line.strip() and not line.lstrip().startswith("#")]


def simple(line: str) -> list[list[str]]:
    """Return the commands that a line is made of, each without its redirections and the variables in front of it."""
    # What is to be filled in is a word.
    lexer = shlex.shlex(re.sub(r"<[^<>|]+>", "X", line), posix=True, punctuation_chars="|&;>")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    words = iter(lexer)
    for word in words:
        if set(word) <= set("|&;"):
            found.append([])
        elif set(word) <= {">"}:
            next(words)
        elif found[-1] or not re.match(r"[A-Z][A-Z0-9_]*=", word):
            found[-1].append(word)
    return [words for words in found if words]


def check(words: list[str], *, whole: bool) -> None:
    """Refuse a command that there is not, or that takes no such option."""
    name, *arguments = words
    name = name.rpartition("/")[2]
    if name == "make":
        for each in arguments:
            variable, given, _ = each.partition("=")
            if given:
                assert variable in {one or other for one, other in VARIABLES} or variable.startswith("TRIDENT_"), words
            elif not variable.startswith(("-", "<", "&")):
                assert variable in TARGETS, words
        return
    if name not in APPS:
        assert not whole or name in FOREIGN, f"{name}: a command that this test does not know"
        return
    command: click.Command = typer.main.get_command(APPS[name])
    while isinstance(command, click.Group) or hasattr(command, "commands"):
        # Options that stand before a verb are the group's own.
        context = command.make_context(name, list(arguments), resilient_parsing=True)
        rest = [*context._protected_args, *context.args] if hasattr(context, "_protected_args") else context.args
        if not rest:
            return
        assert rest[0] in command.commands or (not whole and not rest[0].islower()), words
        if rest[0] not in command.commands:
            return
        command, arguments = command.commands[rest[0]], rest[1:]
    options = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    given = {each.partition("=")[0] for each in arguments if re.match(r"--?[a-z]", each)}
    assert given <= {*options, "--help"}, words


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_command_of_a_page_is_one_that_there_is(page):
    for line, whole in lines(page):
        for words in simple(line):
            check(words, whole=whole)


def test_lines_are_read_as_a_shell_reads_them():
    block = "# told\nA=1 make serve  # now\ntrident sts \\\n  --url x 'a\nb' | tee > y && make test\n"
    assert [simple(line) for line in joined(block)] == [
        [["make", "serve"]],
        [["trident", "sts", "--url", "x", "ab"], ["tee"], ["make", "test"]],
    ]


@pytest.mark.parametrize(
    "line",
    [
        "make sandwiches",
        "make serve SIZE=3",
        "trident-serve doctors",
        "trident sts --loud a b",
        "rm x",
        "trident-train bake cola",
    ],
)
def test_what_there_is_not_is_refused(line):
    (words,) = simple(line)
    with pytest.raises(AssertionError):
        check(words, whole=True)


def test_what_curl_asks_for_is_a_route_of_the_facade():
    routes = create_app(ApiSettings()).openapi()["paths"]
    asked = {
        path.rstrip("/")
        for page in PAGES
        for path in re.findall(r"curl [^\n`]*localhost:8000(/[\w/.-]*)", page.read_text("utf-8"))
    }
    assert asked >= {"/generate", "/qa"}
    assert asked <= {route.rstrip("/") for route in routes} | {"/metrics", ""}
