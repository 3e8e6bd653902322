"""Builds both wheels into a folder, checks them, and writes the notes of the version from CHANGELOG.md beside them.

Nothing is built while the changelog has what is not released: the wheels would have it, and the notes would not.
"""

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
#: What is cut from somebody else's: a folder that holds it holds the licence that it comes under.
CUT = re.compile(r"/tokenizer\.json$")


def build(folder: Path) -> list[Path]:
    """Build the wheels; returns their paths."""
    for source in SOURCES:
        # A file that an earlier build left there would be in the wheel, though the source has it no more.
        shutil.rmtree(source / "build" / "lib", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    for earlier in (*folder.glob("trident_*.whl"), *folder.glob("notes-*.md")):
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
    if unlicensed := [name for name in names if CUT.search(name) and CUT.sub("/LICENSE", name) not in names]:
        raise ValueError(f"{wheel.name} holds no LICENSE beside {', '.join(unlicensed)}")
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
    if not (text := section(version, changelog)):
        raise ValueError(f"CHANGELOG.md says nothing of {version}")
    return text + "\n"


def check_that_all_is_released(changelog: str) -> None:
    """Look whether everything that the changelog tells of has a version.

    Raises:
        ValueError: something has none.
    """
    if re.sub(r"^#.*", "", section("Unreleased", changelog), flags=re.MULTILINE).strip():
        raise ValueError(
            "CHANGELOG.md has changes that are unreleased: give them the version that is built, and a date. "
            "`make wheels` builds wheels of them that are not for others."
        )


def section(title: str, changelog: str) -> str:
    """Return what stands below one of the changelog's titles; nothing where there is none."""
    found = re.search(rf"^## \[{re.escape(title)}\][^\n]*\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else ""


def described(wheel: Path) -> str:
    """Return a wheel's name, its size, and how much more the index would take."""
    size = wheel.stat().st_size
    return f"{wheel.name}  {size / 2**20:.1f} MiB; the package index takes {(LARGEST - size) // 1000:,} kB more"


def main() -> None:
    """Build, check and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "dist")
    parser.add_argument("--unreleased", action="store_true", help="whatever the changelog says, and without notes")
    arguments = parser.parse_args()
    folder = arguments.output.resolve()
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    try:
        if not arguments.unreleased:
            check_that_all_is_released(changelog)
        wheels = build(folder)
        versions = {str(check(wheel).version) for wheel in wheels}
        check_as_the_index_does(wheels)
        if len(wheels) != len(SOURCES) or len(versions) != 1:
            raise ValueError(f"{len(wheels)} wheels of the versions {', '.join(sorted(versions))}")
        if not arguments.unreleased:
            (version,) = versions
            (folder / f"notes-{version}.md").write_text(notes(version, changelog), "utf-8")
    except ValueError as error:
        sys.exit(str(error))
    for wheel in wheels:
        print(described(wheel))


if __name__ == "__main__":
    main()
