"""What pyproject.toml cannot say: a wheel carries the model repository and the shipped weights, which are no packages.

``trident_server.shipped`` finds them there. An editable install finds those of the checkout, and copies nothing.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
SHIPPED = Path("trident_server") / "shipped"
FOLDERS = {"model_repository": SHIPPED / "model_repository", "training/adapters": SHIPPED / "adapters"}


def source_files(folder: str) -> list[Path]:
    """Return the files of a folder that are source: those that git knows, and where there is no git, all."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z", folder], cwd=ROOT, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return [file for file in (ROOT / folder).rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name]


class BuildWithData(build_py):
    """Also copies what is no package."""

    def run(self) -> None:
        """Copy the packages, and then the rest."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib)
        # What an earlier build left there.
        shutil.rmtree(target / SHIPPED, ignore_errors=True)
        for folder, place in FOLDERS.items():
            for file in source_files(folder):
                copy = target / place / file.relative_to(ROOT / folder)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)


setup(cmdclass={"build_py": BuildWithData})
