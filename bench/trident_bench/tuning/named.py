"""The named configurations in a repository: ``<model>/configs/<name>.pbtxt``."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident_bench.errors import BenchError
from trident_bench.repository import CONFIGURATIONS

#: The first words of every file that is written here, by which it is known for one.
MARK = "# Written by trident-bench tune"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def check(repository: Path, models: Iterable[str], name: str) -> None:
    """Refuse a name or a repository that could not be written to, before hours are spent.

    Raises:
        BenchError: the name is not one of a file, a file of that name was written by somebody, or cannot be.
    """
    if not NAME.fullmatch(name):
        raise BenchError(
            f"'{name}' cannot name a configuration: letters, digits, '_', '-' and '.' are accepted, "
            "a letter or digit first."
        )
    for model in models:
        file = _file(repository, model, name)
        if file.exists() and not _is_ours(file):
            raise BenchError(f"{file} was not written by trident-bench tune: choose another --name.")
        folder = file.parent if file.parent.exists() else file.parent.parent
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise BenchError(
                f"{folder} cannot be written ({error.strerror}): name a repository that can, with --repository."
            ) from error


def text(configuration: ModelConfig, header: Iterable[str]) -> str:
    """Return a configuration as a file, with comments before it."""
    lines = "".join(f"# {line}\n" if line else "#\n" for line in header)
    first = f"{MARK}: it is made anew there, and an edit would be lost.\n"
    return f"{first}{lines}{text_format.MessageToString(configuration)}"


def write(repository: Path, texts: Mapping[str, str], models: Iterable[str], name: str) -> list[Path]:
    """Write the configurations of one name; those of the same name from an earlier search are removed.

    Args:
        repository: where.
        texts: by model.
        models: all that a configuration may be there of.
        name: of the configurations.

    Returns:
        What was written.
    """
    written = []
    for model in models:
        file = _file(repository, model, name)
        if model in texts:
            file.parent.mkdir(exist_ok=True)
            file.write_text(texts[model], "utf-8")
            written.append(file)
        elif file.exists() and _is_ours(file):
            file.unlink()
    return written


def _file(repository: Path, model: str, name: str) -> Path:
    return repository / model / CONFIGURATIONS / f"{name}.pbtxt"


def _is_ours(file: Path) -> bool:
    return file.read_text("utf-8").startswith(MARK)
