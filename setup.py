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
#: Behind the name of weights of which a wheel has the bytes in another order; ``checkpoints/adapters.py`` reads them.
PLANES = ".planes"


def source_files(folder: str) -> list[Path]:
    """Return the files of a folder that are source: those that git knows, and where there is no git, all."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z", folder], cwd=ROOT, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return [file for file in (ROOT / folder).rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name]


def copied(file: Path, copy: Path) -> None:
    """Copy a file; of weights in 16 bits the first halves of all numbers, then the second ones.

    A wheel's compression finds more in signs and exponents that stand together: of float16 a fourteenth of the file.
    """
    copy.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".safetensors":
        content = file.read_bytes()
        copy.with_name(copy.name + PLANES).write_bytes(content[::2] + content[1::2])
    else:
        shutil.copyfile(file, copy)


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
                copied(file, target / place / file.relative_to(ROOT / folder))


setup(cmdclass={"build_py": BuildWithData})
