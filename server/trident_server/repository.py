"""Looks at a model repository before Triton does, to say in one sentence what is missing from it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from trident_client.contract import TASKS

from trident_server import configurations, installation, shipped
from trident_server.errors import RepositoryError


def chosen_models(repository: Path, sets: Collection[str]) -> set[str]:
    """Return the folders of some sets of models: each set's main ensemble and its parts.

    Args:
        repository: folder of one folder per model, each with a ``config.pbtxt``.
        sets: names of main ensembles, such as ``cola``; all models are chosen where there are none.

    Raises:
        RepositoryError: there is no such set.
    """
    there = {file.parent.name for file in repository.glob("*/config.pbtxt")}
    if not sets:
        return there
    parts = {part for spec in TASKS.values() for part in spec.parts}
    for name in sets:
        if name not in there:
            main = sorted(each for each in there if not each.endswith(tuple(f"_{part}" for part in parts)))
            raise RepositoryError(f"{repository} holds no models called '{name}' (there are: {', '.join(main)}).")
    return there & {each for name in sets for each in (name, *(f"{name}_{part}" for part in parts))}


def check_repository(repository: Path, config_name: str | None = None, sets: Collection[str] = ()) -> None:
    """Refuse a repository that cannot be served.

    Args:
        repository: folder of one folder per model, each with a ``config.pbtxt``.
        config_name: name that at least one model must have a ``configs/<name>.pbtxt`` for: Triton silently serves
            ``config.pbtxt`` for those that have none.
        sets: what is served of it, as :func:`chosen_models` takes them.

    Raises:
        RepositoryError: there is no repository, a TorchScript model is not built, an export was interrupted, or no
            model has that configuration.
    """
    if not repository.is_dir() and shipped.is_copy(repository):
        raise RepositoryError(f"No model is built yet in {repository}. {shipped.how_to_build(repository)}")
    if not repository.is_dir():
        raise RepositoryError(f"There is no model repository at {repository}: name one with --repository.")
    configurations = sorted(repository.glob("*/config.pbtxt"))
    if not configurations:
        raise RepositoryError(f"{repository} holds no model (no */config.pbtxt): name one that does with --repository.")
    models = chosen_models(repository, sets)
    cut_off = [name for name in installation.unfinished(repository) if not sets or name in sets]
    if cut_off:
        how = shipped.how_to_build(repository)
        raise RepositoryError(f"An export into {repository} was interrupted, of {', '.join(cut_off)}. {how}")
    unbuilt = [file.parent.name for file in configurations if file.parent.name in models and _is_unbuilt(file)]
    if unbuilt:
        how = shipped.how_to_build(repository)
        raise RepositoryError(f"Not built yet in {repository}: {', '.join(unbuilt)}. {how}")
    named = {file.stem for file in repository.glob("*/configs/*.pbtxt") if file.parts[-3] in models}
    if config_name is not None and config_name not in named:
        there = ", ".join(sorted(named)) or "none"
        raise RepositoryError(f"No model in {repository} has configs/{config_name}.pbtxt (there are: {there}).")


def _is_unbuilt(configuration: Path) -> bool:
    found = configurations.read(configuration)
    is_network = found is not None and (found.backend == "pytorch" or found.platform == "pytorch_libtorch")
    return is_network and not any(configuration.parent.glob("[0-9]*/*.pt"))
