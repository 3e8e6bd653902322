"""Looks at a model repository before Triton does, to say in one sentence what is missing from it."""

from __future__ import annotations

import re
from pathlib import Path

from trident_server.errors import RepositoryError

PYTORCH = re.compile(r'^\s*(backend:\s*"pytorch"|platform:\s*"pytorch_libtorch")', re.MULTILINE)


def check_repository(repository: Path, config_name: str | None = None) -> None:
    """Refuse a repository that cannot be served.

    Args:
        repository: folder of one folder per model, each with a ``config.pbtxt``.
        config_name: name that at least one model must have a ``configs/<name>.pbtxt`` for: Triton silently serves
            ``config.pbtxt`` for those that have none.

    Raises:
        RepositoryError: there is no repository, a TorchScript model is not built, or no model has that configuration.
    """
    if not repository.is_dir():
        raise RepositoryError(f"There is no model repository at {repository}: name one with --repository.")
    configurations = sorted(repository.glob("*/config.pbtxt"))
    if not configurations:
        raise RepositoryError(f"{repository} holds no model (no */config.pbtxt): name one that does with --repository.")
    unbuilt = [file.parent.name for file in configurations if _is_unbuilt(file)]
    if unbuilt:
        raise RepositoryError(f"Not built yet in {repository}: {', '.join(unbuilt)}. Run `make models`.")
    named = {file.stem for file in repository.glob("*/configs/*.pbtxt")}
    if config_name is not None and config_name not in named:
        there = ", ".join(sorted(named)) or "none"
        raise RepositoryError(f"No model in {repository} has configs/{config_name}.pbtxt (there are: {there}).")


def _is_unbuilt(configuration: Path) -> bool:
    return bool(PYTORCH.search(configuration.read_text("utf-8"))) and not any(configuration.parent.glob("[0-9]*/*.pt"))
