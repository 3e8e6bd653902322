"""Files are damaged before the start, or the machine lacks something: it is refused soon, and says what is at fault."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos.server import OwnServer


def cut(file: Path) -> None:
    """Leave half of a file."""
    _replace(file, file.read_bytes()[: file.stat().st_size // 2])


def garble(file: Path) -> None:
    """Replace a file by noise of its size."""
    _replace(file, os.urandom(file.stat().st_size))


def empty(file: Path) -> None:
    """Leave nothing of a file, as a disk does that was full."""
    _replace(file, b"")


def _replace(file: Path, content: bytes) -> None:
    # The copy shares its files with the repository.
    file.unlink()
    file.write_bytes(content)


#: What is damaged, and how; the folder is the model that must be named.
DAMAGES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "weights cut short": ("sts_encoder/1/model.pt", cut),
    "weights garbled": ("cola_classifier/1/model.pt", garble),
    "weights empty": ("qa_reader/1/model.pt", empty),
    "tokenizer cut short": ("sts_tokenizer/1/tokenizer.json", cut),
    "tokenizer empty": ("qa_tokenizer/1/tokenizer.json", empty),
    "calibration cut short": ("qa_span_decoder/1/calibration.json", cut),
    "configuration cut short": ("cola_tokenizer/config.pbtxt", cut),
}


def in_little_room(folder: str, mebibytes: int = 1) -> list[str]:
    """Return a command that runs another where a folder is a file system of its own, and small."""
    mount = f'mount -t tmpfs -o size={mebibytes}m tmpfs {folder} && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", mount, "sh"]


#: What the machine lacks; each with the word that must be said.
LACKS = {"a port is taken": "--port", "the disk is full": "No space left", "/dev/shm too small": "--shm-size"}


def may_mount() -> bool:
    """Say whether a full disk can be made here."""
    return subprocess.run([*in_little_room("/tmp"), "true"], capture_output=True, check=False).returncode == 0


def possible() -> list[str]:
    """Return what can be tried here."""
    mounts = may_mount()
    return [*DAMAGES, *(name for name in LACKS if mounts or name == "a port is taken")]


@dataclass(frozen=True)
class Refusal:
    """What a start said that had to fail.

    Attributes:
        fault: what was damaged, or lacked.
        status: the exit status.
        named: whether that was said.
        seconds: how long it took.
    """

    fault: str
    status: int
    named: bool
    seconds: float


def refuse(repository: Path, fault: str) -> Refusal:
    """Start a damaged copy of the repository, or on a machine that lacks something, and return what became of that.

    Raises:
        subprocess.TimeoutExpired: it started, or goes on trying.
    """
    with tempfile.TemporaryDirectory(dir=repository.resolve().parent, prefix=".damaged-") as folder:
        run = Path(folder) / "run"
        run.mkdir()
        if fault in LACKS:
            return _lacking(repository, fault, run)
        place, damage = DAMAGES[fault]
        # Hard links: the weights are large. Both must lie in one file system.
        copy = shutil.copytree(repository, Path(folder) / "models", copy_function=os.link)
        damage(copy / place)
        return _started(OwnServer(copy, run), fault, place.split("/")[0])


def _lacking(repository: Path, fault: str, run: Path) -> Refusal:
    if fault == "/dev/shm too small":
        # Models in processes of their own need it.
        return _started(
            OwnServer(repository, run, ["--isolated"], wrapper=in_little_room("/dev/shm")), fault, LACKS[fault]
        )
    if fault == "the disk is full":
        fill = ["sh", "-c", f'dd if=/dev/zero of={run}/filling bs=4k 2>/dev/null; exec "$@"', "sh"]
        return _started(OwnServer(repository, run, wrapper=[*in_little_room(str(run)), *fill]), fault, LACKS[fault])
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = f"--port={holder.getsockname()[1]}"
        return _started(OwnServer(repository, run, last=[taken]), fault, LACKS[fault])


def _started(server: OwnServer, fault: str, name: str) -> Refusal:
    started = time.monotonic()
    try:
        status = server.wait(300)
    finally:
        server.stop()
    return Refusal(fault, status, name in "".join(server.said), time.monotonic() - started)


def table(refusals: Sequence[Refusal]) -> str:
    """Return them as a table in Markdown."""
    lines = ["| wrong at the start | exit status | named | seconds |", "|---|---:|---|---:|"]
    for each in refusals:
        lines.append(f"| {each.fault} | {each.status} | {'yes' if each.named else 'no'} | {each.seconds:.1f} |")
    return "\n".join(lines) + "\n"
