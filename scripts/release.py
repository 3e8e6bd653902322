"""Builds both wheels into a folder, checks them, and writes the notes of the version from CHANGELOG.md beside them."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from packaging.metadata import Metadata

ROOT = Path(__file__).resolve().parents[1]
SOURCES = (ROOT, ROOT / "client")
#: Bytes; the package index takes no file that is larger.
LARGEST = 100 * 2**20
#: What is built or fetched, and is in no wheel: a built model holds all of somebody else's encoder.
FOREIGN = re.compile(r"/model\.pt$|\.(onnx|bin|gguf|so)$|__pycache__")


def build(folder: Path) -> list[Path]:
    """Build the wheels; returns their paths."""
    for source in SOURCES:
        # A file that an earlier build left there would be in the wheel, though the source has it no more.
        shutil.rmtree(source / "build" / "lib", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    for earlier in folder.glob("trident_*.whl"):
        earlier.unlink()
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-index"]
    subprocess.run(
        [*command, "--no-deps", "--no-build-isolation", "--wheel-dir", folder, *SOURCES], check=True, cwd=ROOT
    )
    return sorted(folder.glob("trident_*.whl"))


def check(wheel: Path) -> Metadata:
    """Return what a wheel says of itself.

    Raises:
        ValueError: it cannot be published as it is; the text says why.
    """
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (place,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        # Refuses what the index would refuse.
        metadata = Metadata.from_email(archive.read(place), validate=True)
    if foreign := [name for name in names if FOREIGN.search(name)]:
        raise ValueError(f"{wheel.name} holds what is not the project's source: {', '.join(foreign)}")
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in names):
        raise ValueError(f"{wheel.name} holds no licence")
    if wheel.stat().st_size > LARGEST:
        raise ValueError(f"{wheel.name} has {wheel.stat().st_size} bytes; the package index takes {LARGEST}")
    return metadata


def check_as_the_index_does(wheels: list[Path]) -> None:
    """Have twine look whether the index would take the wheels, and show their descriptions.

    Raises:
        ValueError: it would not; standard output says why.
    """
    if subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *wheels]).returncode:
        raise ValueError("twine would not upload them")


def notes(version: str, changelog: str) -> str:
    """Return what the changelog says of a version.

    Raises:
        ValueError: nothing.
    """
    found = re.search(rf"^## \[{re.escape(version)}\][^\n]*\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if found is None or not found[1].strip():
        raise ValueError(f"CHANGELOG.md says nothing of {version}")
    return found[1].strip() + "\n"


def main() -> None:
    """Build, check and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "dist")
    folder = parser.parse_args().output.resolve()
    wheels = build(folder)
    try:
        versions = {str(check(wheel).version) for wheel in wheels}
        check_as_the_index_does(wheels)
        if len(wheels) != len(SOURCES) or len(versions) != 1:
            raise ValueError(f"{len(wheels)} wheels of the versions {', '.join(sorted(versions))}")
        (version,) = versions
        text = notes(version, (ROOT / "CHANGELOG.md").read_text("utf-8"))
    except ValueError as error:
        sys.exit(str(error))
    (folder / f"notes-{version}.md").write_text(text, "utf-8")
    for wheel in wheels:
        print(f"{wheel.name}  {wheel.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
