"""A repository's configurations; and some of its models under other ones, in another folder: it stays as it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from google.protobuf import text_format
from trident_server.errors import RepositoryError
from trident_server.repository import check_repository
from tritonclient.grpc.model_config_pb2 import ModelConfig

from trident_bench.ensembles import Ensemble, find_ensembles
from trident_bench.errors import BenchError

CONFIGURATION = "config.pbtxt"
CONFIGURATIONS = "configs"


def configuration(repository: Path, model: str) -> ModelConfig:
    """Read a model's own configuration.

    Raises:
        BenchError: there is none, or Triton would not understand it.
    """
    file = repository / model / CONFIGURATION
    try:
        return text_format.Parse(file.read_text("utf-8"), ModelConfig())
    except OSError as error:
        raise BenchError(f"{file} cannot be read ({error.strerror}).") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise BenchError(f"{file} is not a model configuration of Triton's: {error}") from error


def ensembles(repository: Path, config_name: str | None = None) -> dict[str, Ensemble]:
    """Return a repository's ensembles by name.

    Raises:
        BenchError: it is no repository, its models are not built, or none has a configuration of that name.
    """
    try:
        check_repository(repository, config_name)
    except RepositoryError as error:
        raise BenchError(str(error)) from error
    names = sorted(file.parent.name for file in repository.glob(f"*/{CONFIGURATION}"))
    return find_ensembles({name: configuration(repository, name) for name in names})


def link_models(
    repository: Path,
    models: Iterable[str],
    folder: Path,
    changed: Mapping[str, str] | None = None,
    name: str | None = None,
) -> Path:
    """Make a repository of links to some of another one's models, so that a server loads, and holds, no more.

    Args:
        repository: the other one.
        models: those to serve.
        folder: where to make it; must not exist.
        changed: text of the configurations that are not to be as they are there, by model.
        name: put these beside ``config.pbtxt``, as ``configs/<name>.pbtxt``, rather than in its place.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True)
    for model in models:
        own, target = (repository / model).resolve(), folder / model
        (target / CONFIGURATIONS).mkdir(parents=True)
        for each in [*own.iterdir(), *own.glob(f"{CONFIGURATIONS}/*")]:
            if each.name != CONFIGURATIONS:
                (target / each.relative_to(own)).symlink_to(each)
        if changed and model in changed:
            file = target / (CONFIGURATION if name is None else f"{CONFIGURATIONS}/{name}.pbtxt")
            file.unlink(missing_ok=True)
            file.write_text(changed[model], "utf-8")
    return folder
