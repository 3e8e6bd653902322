"""What a server says of itself, read: the sets of models it serves, and what it has counted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from trident_client import contract
from trident_client._types import Configuration, ModelInfo, ModelStatistics, Request, Statistics
from trident_client.errors import NotReadyError, ServerError

NANOSECONDS = 1e9


def not_served(error: NotReadyError, ready: Sequence[str]) -> str:
    """Return an error's message with the sets of models that are served, where the model is none of them.

    Args:
        error: of a request for a model.
        ready: names of all models that are ready, the parts of sets among them.
    """
    if not ready or error.model in ready:
        return error.message
    parts = {f"_{part}" for task in contract.TASKS.values() for part in task.parts}
    sets = [name for name in sorted(ready) if not any(name.removesuffix(part) in {*ready} - {name} for part in parts)]
    return f"{error.message}; served are: {', '.join(sets)}"


def other_task(request: Request, configuration: Configuration) -> str | None:
    """Return why a model cannot answer a request, where it lacks a tensor of the request; None where it lacks none.

    Args:
        request: what was refused.
        configuration: the model's.
    """
    has = {each["name"] for side in ("input", "output") for each in configuration.get(side, ())}
    lacks = [name for name in (*request.inputs, *request.outputs) if name not in has]
    if not has or not lacks:
        return None
    task = configuration.get("parameters", {}).get("task", {}).get("string_value", "")
    of = f"is of the task {task} and " if task else ""
    return f"{request.model} {of}has no {lacks[0]}; models() says of which task each model is"


def model_infos(configurations: Mapping[str, Configuration]) -> list[ModelInfo]:
    """Return what the configurations of all models, by name, tell of the sets that they make.

    Raises:
        ServerError: a set's parameters are not what an export writes.
    """
    # Of a set's models only the main ensemble tells its task.
    return [
        model_info(
            name, configuration, configurations.get(contract.EMBED.of(name)), configurations.get(tokenizer(name))
        )
        for name, configuration in configurations.items()
        if "task" in configuration.get("parameters", {})
    ]


def dimension(embedding: Configuration) -> int | None:
    """Return how many numbers an embedding of a model has, which its configuration says; None where it does not."""
    widths = (each["dims"][-1] for each in embedding["output"] if each["name"] == contract.EMBED.output.tensor)
    # Numbers over HTTP, text over gRPC.
    return next(map(int, widths), None)


def languages(configuration: Configuration) -> tuple[str, ...]:
    """Return the languages that a set of models is for, as its main ensemble's configuration has them."""
    named = configuration.get("parameters", {}).get("languages", {}).get("string_value", "")
    return tuple(filter(None, named.split(",")))


def model_statistics(statistics: Mapping[str, Sequence[Statistics]]) -> list[ModelStatistics]:
    """Return each server's counts of each model, by server and name."""
    each_model = [_model_statistics(server, each) for server, models in statistics.items() for each in models]
    return sorted(each_model, key=lambda each: (each.server, each.name, each.version))


def tokenizer(name: str) -> str:
    """Return the name of a set's tokenizer."""
    return f"{name}_tokenizer"


def model_info(
    name: str, configuration: Configuration | None, embedding: Configuration | None, tokenizer: Configuration | None
) -> ModelInfo:
    """Return what the configurations of a set's main ensemble and of two of its parts tell of it, where they are given.

    Raises:
        ServerError: they are not what an export writes.
    """
    parameters, tokenizing = _parameters(configuration), _parameters(tokenizer)
    try:
        return ModelInfo(
            name=name,
            task=parameters.get("task", ""),
            languages=languages(configuration or {}),
            dimension=dimension(embedding) if embedding else None,
            threshold=float(parameters["threshold"]) if "threshold" in parameters else None,
            metrics=json.loads(parameters.get("metrics", "{}")),
            dimensions=tuple(int(each) for each in filter(None, parameters.get("dimensions", "").split(","))),
            prompts=json.loads(tokenizing.get("prompts", "{}")),
            default_prompt_name=tokenizing.get("default_prompt_name", ""),
            labels=tuple(json.loads(parameters.get("labels", "[]"))),
            export=json.loads(parameters.get("export", "{}")),
            max_tokens=int(tokenizing["max_length"]) if "max_length" in tokenizing else None,
            vocabulary=int(tokenizing["vocabulary"]) if "vocabulary" in tokenizing else None,
        )
    except ValueError as error:
        raise ServerError(f"the model's parameters cannot be read: {error}", name) from error


def _parameters(configuration: Configuration | None) -> dict[str, str]:
    parameters = (configuration or {}).get("parameters", {})
    return {key: value.get("string_value", "") for key, value in parameters.items()}


def _model_statistics(server: str, statistics: Statistics) -> ModelStatistics:
    # gRPC leaves out what is 0, and gives 64-bit numbers as text.
    inference = statistics.get("inference_stats", {})

    def count(duration: str) -> int:
        return int(inference.get(duration, {}).get("count", 0))

    def seconds(duration: str) -> float:
        return int(inference.get(duration, {}).get("ns", 0)) / NANOSECONDS

    return ModelStatistics(
        server=server,
        name=str(statistics["name"]),
        version=str(statistics.get("version", "")),
        inferences=int(statistics.get("inference_count", 0)),
        executions=int(statistics.get("execution_count", 0)),
        successes=count("success"),
        failures=count("fail"),
        request_seconds=seconds("success"),
        queue_seconds=seconds("queue"),
        compute_input_seconds=seconds("compute_input"),
        compute_infer_seconds=seconds("compute_infer"),
        compute_output_seconds=seconds("compute_output"),
    )
