"""Files of a repository are damaged before the start: the start is refused soon, and says whose file it is."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos.stand import Stand


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
    "configuration cut short": ("cola_tokenizer/config.pbtxt", cut),
}


@dataclass(frozen=True)
class Refusal:
    """What a damaged repository's start said.

    Attributes:
        fault: what was damaged.
        status: the exit status.
        named: whether the model was.
        seconds: how long it took.
    """

    fault: str
    status: int
    named: bool
    seconds: float


def refuse(repository: Path, fault: str) -> Refusal:
    """Damage a copy of the repository, start it, and return what became of that.

    Raises:
        subprocess.TimeoutExpired: it started, or goes on trying.
    """
    place, damage = DAMAGES[fault]
    with tempfile.TemporaryDirectory(dir=repository.resolve().parent, prefix=".damaged-") as folder:
        # Hard links: the weights are large. Both must lie in one file system.
        copy = shutil.copytree(repository, Path(folder) / "models", copy_function=os.link)
        damage(copy / place)
        started = time.monotonic()
        stand = Stand(copy, Path(folder) / "run")
        try:
            status = stand.wait(300)
        finally:
            stand.stop()
        return Refusal(fault, status, place.split("/")[0] in "".join(stand.said), time.monotonic() - started)


def table(refusals: Sequence[Refusal]) -> str:
    """Return them as a table in Markdown."""
    lines = ["| damaged before the start | exit status | model named | seconds |", "|---|---:|---|---:|"]
    for each in refusals:
        lines.append(f"| {each.fault} | {each.status} | {'yes' if each.named else 'no'} | {each.seconds:.1f} |")
    return "\n".join(lines) + "\n"
