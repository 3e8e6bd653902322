"""Asks a real server with the clients that people have, each from an environment of its own, and writes the table.

``make clients``: what was asked before, of the same sources and with the same calls, is not asked again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
MADE = "<!-- Written by `make clients`; the calls are in tests/clients/. -->"
#: Seconds that all calls of one client may take.
LONGEST = 900
HEAD = f"""{MADE}

# Clients

What other projects' clients ask a server of Trident's, each from an environment of its own; `make clients` makes this
table. Addresses: `http://127.0.0.1:8000` for Hugging Face's, Cohere's and TEI's clients, `http://127.0.0.1:8000/v1` for
OpenAI's.

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
    names = chosen.clients or CLIENTS
    for name in names:
        console.print(f"{name}: its environment")
        prepare(name, chosen.python)
    due = [name for name in names if chosen.again or not answered(name)]
    if due:
        with servers() as addresses:
            for name in due:
                console.print(f"{name}: its calls")
                ask(name, addresses)
    rows = [row for name in CLIENTS if results_file(name).is_file() for row in read(name)]
    PAGE.write_text(HEAD + "".join(map(line, rows)), "utf-8")
    failed = [row for row in rows if row["error"]]
    for row in failed:
        console.print(f"{row['client']}: {row['call']}: {row['error']}", style="red", markup=False)
    sys.exit(bool(failed))


def prepare(name: str, python: str) -> None:
    """Install a client, where that was not done from the same list."""
    source, folder = HERE / name, CACHE / name
    wanted = next((each for each in (source / "requirements.txt", source / "package.json") if each.is_file()), None)
    stamp = folder / ".installed"
    if wanted is None or (stamp.is_file() and stamp.read_bytes() == wanted.read_bytes()):
        return
    folder.mkdir(parents=True, exist_ok=True)
    if wanted.name == "package.json":
        (folder / wanted.name).write_bytes(wanted.read_bytes())
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund"], cwd=folder, check=True)
    else:
        subprocess.run([python, "-m", "venv", folder], check=True)
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


def ask(name: str, addresses: Mapping[str, str]) -> None:
    """Make a client's calls, and keep what became of them."""
    calls = next((HERE / name).glob("calls.*"))
    folder = CACHE / name
    folder.mkdir(parents=True, exist_ok=True)
    program: list[str | Path] = (
        [folder / "bin" / "python"] if (HERE / name / "requirements.txt").is_file() else [sys.executable]
    )
    if calls.suffix == ".mjs":
        # Packages are found from where the calls lie.
        (folder / calls.name).write_bytes(calls.read_bytes())
        program, calls = ["node"], folder / calls.name
    # What the shell says to other programs, such as Hugging Face's to stay offline, is none of theirs.
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    environment = {**kept, **addresses, "PATH": path, "PYTHONPATH": str(HERE)}
    try:
        done = subprocess.run(
            [*program, calls], env=environment, cwd=folder, stdout=subprocess.PIPE, text=True, timeout=LONGEST
        )
        rows = done.stdout.splitlines()
        problem = f"ended with {done.returncode}" if done.returncode else None
    except subprocess.TimeoutExpired:
        rows, problem = [], f"took more than {LONGEST} s"
    if problem:
        rows.append(json.dumps({"client": name, "version": "", "call": "all", "error": problem}))
    for each in folder.glob("results-*.jsonl"):
        each.unlink()
    results_file(name).write_text("".join(f"{row}\n" for row in rows), "utf-8")


def results_file(name: str) -> Path:
    """Return where the results of a client's calls lie, as they and the sources that they were asked of are."""
    sources = sorted(each for each in (HERE / name).iterdir() if each.is_file())
    sources += [HERE / "calling.py", *sorted((ROOT / "api" / "trident_api").glob("*.py"))]
    content = hashlib.sha256(b"".join(each.read_bytes() for each in sources)).hexdigest()
    return CACHE / name / f"results-{content[:16]}.jsonl"


def answered(name: str) -> bool:
    """Say whether all calls of a client were made before, and worked."""
    return results_file(name).is_file() and not any(row["error"] for row in read(name))


def read(name: str) -> list[dict[str, Any]]:
    """Return a client's results."""
    return [json.loads(each) for each in results_file(name).read_text("utf-8").splitlines()]


def line(row: Mapping[str, Any]) -> str:
    """Return a row of the table."""
    return f"| {row['client']} | {row['version']} | {row['call']} | {'no' if row['error'] else 'yes'} |\n"


if __name__ == "__main__":
    main()
