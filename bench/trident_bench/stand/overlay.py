"""Some models of a repository under configurations of one's own, in another folder: the repository stays as it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from google.protobuf import text_format
from trident_server.errors import RepositoryError
from trident_server.repository import check_repository
from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident_bench.stand.ensembles import Ensemble, read
from trident_bench.stand.errors import StandError

CONFIGURATION = "config.pbtxt"
CONFIGURATIONS = "configs"


def configuration(repository: Path, model: str) -> ModelConfig:
    """Read a model's own configuration.

    Raises:
        StandError: there is none, or Triton would not understand it.
    """
    file = repository / model / CONFIGURATION
    try:
        return text_format.Parse(file.read_text("utf-8"), ModelConfig())
    except OSError as error:
        raise StandError(f"{file} cannot be read ({error.strerror}).") from error
    except text_format.ParseError as error:
        raise StandError(f"{file} is not a model configuration of Triton's: {error}") from error


def ensembles(repository: Path) -> dict[str, Ensemble]:
    """Return a repository's ensembles by name.

    Raises:
        StandError: it is no repository, or its models are not built.
    """
    try:
        check_repository(repository)
    except RepositoryError as error:
        raise StandError(str(error)) from error
    names = sorted(file.parent.name for file in repository.glob(f"*/{CONFIGURATION}"))
    return read((name, configuration(repository, name)) for name in names)


def lay_over(
    repository: Path,
    models: Iterable[str],
    folder: Path,
    changed: Mapping[str, str] | None = None,
    named: str | None = None,
) -> Path:
    """Make a repository of links to some of another one's models.

    Args:
        repository: the other one.
        models: those to serve.
        folder: where to make it; must not exist.
        changed: text of the configurations that are not to be as they are there, by model.
        named: put these beside ``config.pbtxt``, as ``configs/<named>.pbtxt``, rather than in its place.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True)
    for model in models:
        target = folder / model
        target.mkdir()
        for each in (repository / model).resolve().iterdir():
            if each.name not in {CONFIGURATION, CONFIGURATIONS}:
                (target / each.name).symlink_to(each)
        own = (repository / model / CONFIGURATION).read_text("utf-8")
        text = (changed or {}).get(model)
        if named is not None and text is not None:
            (target / CONFIGURATIONS).mkdir()
            (target / CONFIGURATIONS / f"{named}.pbtxt").write_text(text, "utf-8")
            text = None
        (target / CONFIGURATION).write_text(own if text is None else text, "utf-8")
    return folder
