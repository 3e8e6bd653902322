"""Programs of Debian's packages: the machine's own, or else unpacked in the project's cache, without root."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from filelock import FileLock

CACHE = Path(__file__).resolve().parents[2] / ".trident" / "debian"
#: Where Debian has programs that no user's path names.
PLACES = ("usr/sbin", "usr/lib/postgresql/*/bin")
SECONDS = 300


def find(program: str, package: str) -> Path:
    """Return where a program is; skips the test where the machine has none and its package cannot be fetched."""
    if found := shutil.which(program) or _look(Path("/"), program):
        return Path(found)
    folder = CACHE / package
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / f"{package}.lock"):
        if not folder.is_dir():
            _fetch(package, folder)
    found = _look(folder, program)
    assert found, f"the package {package} has no {program}"
    return Path(found)


def environment(program: Path) -> dict[str, str]:
    """Return a program's environment: where :func:`find` unpacked it, the libraries that came with it."""
    if CACHE not in program.parents:
        return dict(os.environ)
    folder = CACHE / program.relative_to(CACHE).parts[0]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(glob.glob(f"{folder}/usr/lib/*-linux-gnu"))}


def _look(root: Path, program: str) -> str | None:
    return next((str(each) for place in PLACES for each in sorted(root.glob(f"{place}/{program}"))), None)


def _fetch(package: str, folder: Path) -> None:
    """Unpack a package, and those of what it needs that the machine lacks, in a folder."""
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        # Lists of its own: the machine's may be missing, and are root's to renew.
        lists, cache = Path(scratch, "lists"), Path(scratch, "cache")
        for each in (lists / "partial", cache / "archives" / "partial"):
            each.mkdir(parents=True)
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        settings = {"APT::Sandbox::User": user, "Debug::NoLocking": 1, "Acquire::http::Timeout": 10}
        settings |= {"Dir::State::lists": lists, "Dir::Cache": cache}
        apt = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in settings.items())]
        fetch = [*apt, "install", "--yes", "--download-only", "--no-install-recommends", package]
        try:
            for command in ([*apt, "update"], fetch):
                subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
        except (FileNotFoundError, subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            pytest.skip(f"Debian's package {package} is not installed and cannot be fetched: {said[-1]}")
        unpacked = Path(scratch, "unpacked")
        for archive in (cache / "archives").glob("*.deb"):
            subprocess.run(["dpkg-deb", "--extract", archive, unpacked], check=True)
        unpacked.rename(folder)
