"""What a running Triton serves: its ensembles, what they take, and the models that they are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from trident_bench.load.errors import LoadError

TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class Stage:
    """A composing model: its name, and how many instances of it there are."""

    name: str
    instances: int


@dataclass(frozen=True)
class Ensemble:
    """An ensemble.

    Attributes:
        name: as clients ask for it.
        inputs: names of the inputs that a request must have.
        outputs: names of its outputs.
        stages: its composing models, in the order of its steps.
        languages: of its texts, as the configuration tells; empty where it does not.
        configurations: of itself and of its stages, as Triton tells them, to know a changed server by.
    """

    name: str
    inputs: frozenset[str]
    outputs: frozenset[str]
    stages: tuple[Stage, ...]
    languages: tuple[str, ...]
    configurations: tuple[dict[str, Any], ...]


class TritonState:
    """Asks Triton's HTTP service for what it serves and what it has counted.

    Args:
        url: ``host:port``.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        # Not through a proxy that the environment names.
        self._http = httpx.Client(base_url=f"http://{url}", timeout=TIMEOUT_SECONDS, trust_env=False)

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def version(self) -> str:
        """Return the server's name and version.

        Raises:
            LoadError: as all methods: nobody answers there, or it is not Triton.
        """
        told = self._ask("GET", "/v2")
        return f"{told['name']} {told['version']}"

    def ensembles(self) -> list[Ensemble]:
        """Return all ensembles that are ready, by name."""
        index = self._ask("POST", "/v2/repository/index")
        names = sorted({each["name"] for each in index if each.get("state") == "READY"})
        configurations = {name: self._ask("GET", f"/v2/models/{name}/config") for name in names}
        return [
            _ensemble(configuration, configurations)
            for configuration in configurations.values()
            if configuration.get("platform") == "ensemble"
        ]

    def statistics(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return what Triton has counted for each of these models, as it tells it."""
        return {name: self._ask("GET", f"/v2/models/{name}/stats")["model_stats"][0] for name in names}

    def _ask(self, method: str, path: str) -> Any:
        try:
            answer = self._http.request(method, path)
            answer.raise_for_status()
            return answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise LoadError(
                f"No Triton answers at {self._url} ({error}). Give the host:port of its HTTP service, "
                "such as 127.0.0.1:8010, or no address to load a server of this command's own."
            ) from error


def choose(served: Sequence[Ensemble], wanted: Sequence[str]) -> list[Ensemble]:
    """Return the wanted ones of the served ensembles; all for none.

    Raises:
        LoadError: one is not served, or none is.
    """
    by_name = {each.name: each for each in served}
    if not served:
        raise LoadError("The server has no ensemble that is ready.")
    if unknown := [name for name in wanted if name not in by_name]:
        raise LoadError(f"The server has no ensemble '{unknown[0]}'; it has {', '.join(by_name)}.")
    return [by_name[name] for name in dict.fromkeys(wanted)] or list(served)


def _ensemble(configuration: dict[str, Any], every: dict[str, dict[str, Any]]) -> Ensemble:
    steps = dict.fromkeys(step["model_name"] for step in configuration["ensemble_scheduling"]["step"])
    told = configuration.get("parameters", {}).get("languages", {}).get("string_value", "")
    name = configuration["name"]
    # Of a task's two ensembles only the main one tells its languages.
    if not told and name.endswith("_embedding"):
        main = every.get(name.removesuffix("_embedding"), {})
        told = main.get("parameters", {}).get("languages", {}).get("string_value", "")
    return Ensemble(
        name=name,
        inputs=frozenset(each["name"] for each in configuration["input"] if not each.get("optional")),
        outputs=frozenset(each["name"] for each in configuration["output"]),
        stages=tuple(Stage(step, _instances(every[step])) for step in steps),
        languages=tuple(filter(None, told.split(","))),
        configurations=(configuration, *(every[step] for step in steps)),
    )


def _instances(configuration: dict[str, Any]) -> int:
    # A group on GPUs has its count of instances on each of them.
    return sum(group["count"] * max(len(group.get("gpus", [])), 1) for group in configuration["instance_group"]) or 1
