"""What an image is built from: the build context that ``.dockerignore`` leaves, and a Dockerfile's instructions."""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"


def context_files(root: Path = ROOT) -> Iterator[Path]:
    """Yield the files, relative to ``root``, that ``docker build`` would send: the last fitting pattern decides.

    A pattern fits a file when it fits the file's path or a folder above it, as Docker has it.
    """
    lines = [line.strip() for line in (root / ".dockerignore").read_text().splitlines()]
    patterns = [line for line in lines if line and not line.startswith("#")]
    kept = {each.lstrip("!").split("/")[0] for each in patterns if each.startswith("!")}
    for top in sorted(kept):
        path = root / top
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.is_file() and not _is_ignored(file.relative_to(root), patterns):
                yield file.relative_to(root)


def _is_ignored(file: Path, patterns: list[str]) -> bool:
    ignored = False
    for pattern in patterns:
        if any(_fits(str(each), pattern.lstrip("!")) for each in (file, *file.parents) if each != Path()):
            ignored = not pattern.startswith("!")
    return ignored


def _fits(path: str, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return fnmatch.fnmatchcase(path.rpartition("/")[2], pattern[3:])
    return path.count("/") == pattern.count("/") and fnmatch.fnmatchcase(path, pattern)


def stage(folder: str, target: Path) -> Path:
    """Copy what an image would get of one folder of the project, read-only as in the image; return the copy.

    Large files are hard links where the disk allows it.
    """
    for file in context_files():
        if file.parts[0] != folder:
            continue
        copy = target / file.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".pt":
            try:
                os.link(ROOT / file, copy)
                continue
            except OSError:
                pass
        shutil.copyfile(ROOT / file, copy)
        copy.chmod(0o555)
    return target


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """Return a Dockerfile's instructions and their arguments, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (DOCKER / dockerfile).read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines if line.strip()]
