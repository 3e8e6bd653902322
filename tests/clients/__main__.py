"""Asks a real server with the clients that people have, each from an environment of its own, and writes the table.

``make clients``: what was asked before, of the same sources and with the same calls, is not asked again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console
from trident_server.facade import FacadeProcess
from trident_server.process import TritonProcess

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CACHE = ROOT / ".trident" / "clients"
PAGE = ROOT / "docs" / "clients.md"
#: What is asked, by the folder that says how.
CLIENTS = sorted(each.name for each in HERE.iterdir() if any(each.glob("calls.*")))
#: Names, before the ending, of a list of packages that is for one interpreter: `requirements-python3.13.txt`.
OF_ONE = "requirements-"
MADE = "<!-- Written by `make clients`; the calls are in tests/clients/. -->"
NOT_HAD = "not had here"
#: Seconds that all calls of one client may take.
LONGEST = 900
HEAD = f"""{MADE}

# Clients

What other projects' clients ask a server of Trident's, each from an environment of its own; `make clients` makes this
table. Addresses: `http://127.0.0.1:8000` for Hugging Face's, Cohere's and TEI's clients, `http://127.0.0.1:8000/v1` for
OpenAI's. Interpreters are the path's, with pyenv several by `PYENV_VERSION=3.11.7:3.13.0`; one that is not there was
"not had here".

| client | version | call | works |
|---|---|---|---|
"""


def main() -> None:
    """Ask, and write the table; fails where a client failed."""
    parser = argparse.ArgumentParser(prog="make clients", description=__doc__)
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help=f"of {', '.join(CLIENTS)}; all by default")
    parser.add_argument("--again", action="store_true", help="also what was asked before")
    parser.add_argument("--python", default=sys.executable, help="makes the environments")
    chosen = parser.parse_args()
    if unknown := sorted({*chosen.clients} - {*CLIENTS}):
        parser.error(f"there is no client {unknown[0]}; there are {', '.join(CLIENTS)}")
    console = Console(stderr=True)
    asked = [each for name in chosen.clients or CLIENTS for each in environments(name, chosen.python)]
    for each in asked:
        if each.python is not None:
            console.print(f"{each.name}: its environment")
            prepare(each)
    due = [each for each in asked if each.python is not None and (chosen.again or not answered(each))]
    if due:
        with servers() as addresses:
            for each in due:
                console.print(f"{each.name}: its calls")
                ask(each, addresses)
    found = [each for name in CLIENTS for each in environments(name, chosen.python)]
    rows = [row for each in found if results_file(each).is_file() or each.python is None for row in read(each)]
    PAGE.write_text(HEAD + "".join(map(line, rows)), "utf-8")
    failed = [row for row in rows if row["error"]]
    for row in failed:
        console.print(f"{row['client']}: {row['call']}: {row['error']}", style="red", markup=False)
    sys.exit(bool(failed))


@dataclass(frozen=True)
class Environment:
    """Where a client's calls run.

    Attributes:
        client: the folder that has the calls.
        wanted: lists the packages; None where the calls need none.
        python: makes the environment; None where the machine has not the interpreter that the list is for.
    """

    client: str
    wanted: Path | None
    python: str | None

    @property
    def name(self) -> str:
        """The client, and the interpreter where it has several."""
        of_one = self.wanted is not None and self.wanted.name.startswith(OF_ONE)
        return f"{self.client}-{self.interpreter}" if of_one else self.client

    @property
    def interpreter(self) -> str:
        """The program that the list of packages is for."""
        return self.wanted.stem.removeprefix(OF_ONE) if self.wanted is not None else ""

    @property
    def folder(self) -> Path:
        """Where it is made."""
        return CACHE / self.name


def environments(client: str, python: str) -> list[Environment]:
    """Return the environments that a client asks from: one, or one an interpreter."""
    source = HERE / client
    if several := sorted(source.glob(f"{OF_ONE}*.txt")):
        return [Environment(client, each, interpreter(each.stem.removeprefix(OF_ONE))) for each in several]
    wanted = next((each for each in (source / "requirements.txt", source / "package.json") if each.is_file()), None)
    return [Environment(client, wanted, python)]


@cache
def interpreter(program: str) -> str | None:
    """Return where an interpreter is; None where there is none, or none that starts."""
    found = shutil.which(program)
    if found is None or subprocess.run([found, "-c", ""], capture_output=True).returncode:
        return None
    return found


def prepare(environment: Environment) -> None:
    """Install a client, where that was not done from the same list."""
    wanted, folder = environment.wanted, environment.folder
    stamp = folder / ".installed"
    if wanted is None or (stamp.is_file() and stamp.read_bytes() == wanted.read_bytes()):
        return
    folder.mkdir(parents=True, exist_ok=True)
    if wanted.name == "package.json":
        (folder / wanted.name).write_bytes(wanted.read_bytes())
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund"], cwd=folder, check=True)
    else:
        subprocess.run([str(environment.python), "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", "-r", wanted], check=True)
    stamp.write_bytes(wanted.read_bytes())


@contextmanager
def servers() -> Iterator[Mapping[str, str]]:
    """Run Triton with the repository's models, and the facade; yield their addresses, as the calls read them."""
    logs = CACHE / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    repository, cache = ROOT / "model_repository", ROOT / ".trident"
    with TritonProcess(repository=repository, cache_dir=cache, log_file=logs / "triton.log") as triton:
        http, grpc = triton.http_url, triton.grpc_url
        with FacadeProcess(triton_url=http, triton_grpc_url=grpc, log_file=logs / "facade.log") as facade:
            yield {"FACADE_URL": facade.url, "TRITON_HTTP": http, "TRITON_GRPC": grpc}


def ask(asking: Environment, addresses: Mapping[str, str]) -> None:
    """Make a client's calls, and keep what became of them."""
    calls = next((HERE / asking.client).glob("calls.*"))
    folder = asking.folder
    folder.mkdir(parents=True, exist_ok=True)
    program: list[str | Path] = [sys.executable if asking.wanted is None else folder / "bin" / "python"]
    if calls.suffix == ".mjs":
        # Packages are found from where the calls lie.
        (folder / calls.name).write_bytes(calls.read_bytes())
        program, calls = ["node"], folder / calls.name
    # What the shell says to other programs, such as Hugging Face's to stay offline, is none of theirs.
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    # The project's own programs are those of the sources that are served from.
    sources = os.environ.get("PYTHONPATH", "") if asking.wanted is None else ""
    environment = {**kept, **addresses, "PATH": path, "PYTHONPATH": f"{HERE}:{sources}".rstrip(":")}
    try:
        done = subprocess.run(
            [*program, calls], env=environment, cwd=folder, stdout=subprocess.PIPE, text=True, timeout=LONGEST
        )
        # Clients print of their own accord, above all where something fails.
        rows = [each for each in done.stdout.splitlines() if each.startswith('{"client":')]
        problem = f"ended with {done.returncode}" if done.returncode else None
    except subprocess.TimeoutExpired:
        rows, problem = [], f"took more than {LONGEST} s"
    if problem:
        rows.append(
            json.dumps({"client": asking.client, "version": asking.interpreter, "call": "all", "error": problem})
        )
    for each in folder.glob("results-*.jsonl"):
        each.unlink()
    results_file(asking).write_text("".join(f"{row}\n" for row in rows), "utf-8")


def results_file(asked: Environment) -> Path:
    """Return where the results of a client's calls lie, as they and the sources that they were asked of are."""
    others = [each.wanted for each in environments(asked.client, "") if each.wanted != asked.wanted]
    sources = sorted(each for each in (HERE / asked.client).iterdir() if each.is_file() and each not in others)
    # Of the models, which there are.
    sources += [HERE / "calling.py", ROOT / "training" / "trident_training" / "models.py"]
    sources += sorted((ROOT / "api" / "trident_api").glob("*.py"))
    content = hashlib.sha256(b"".join(each.read_bytes() for each in sources)).hexdigest()
    return asked.folder / f"results-{content[:16]}.jsonl"


def answered(asked: Environment) -> bool:
    """Say whether all calls of a client were made before, and worked."""
    return results_file(asked).is_file() and not any(row["error"] for row in read(asked))


def read(asked: Environment) -> list[dict[str, Any]]:
    """Return a client's results; of an interpreter that is not here, that it is not."""
    if asked.python is None:
        return [{"client": asked.client, "version": asked.interpreter, "call": "", "error": None, "works": NOT_HAD}]
    return [json.loads(each) for each in results_file(asked).read_text("utf-8").splitlines()]


def line(row: Mapping[str, Any]) -> str:
    """Return a row of the table."""
    works = "no" if row["error"] else row.get("works", "yes")
    return f"| {row['client']} | {row['version']} | {row['call']} | {works} |\n"


if __name__ == "__main__":
    main()
