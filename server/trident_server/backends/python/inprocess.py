"""Python models inside Triton's process: what ``inprocess.c`` and ``delegate.c`` call."""

from __future__ import annotations

import importlib.util
import itertools
import json
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trident_server.backends import tensors
from trident_server.backends.python import backend_utils
from trident_server.backends.python.backend_utils import InferenceRequest, InferenceResponse, TritonError
from trident_server.backends.tensors import Array, Error, Output
from trident_server.backends.triton_log import Level, log

PARAMETER = "IN_PROCESS"
UTILS = "triton_python_backend_utils"

_numbers = itertools.count()


class ModelError(Exception):
    """A model cannot be served inside Triton's process, or what it answered cannot be sent; the text says why."""


def is_hosted(config: str) -> bool:
    """Return whether a model opts in.

    Args:
        config: Triton's JSON form of the configuration.

    Raises:
        ModelError: the parameter is neither ``true`` nor ``false``, or the model is configured for what needs a process
            of its own.
    """
    parsed = json.loads(config)
    word: str = parsed.get("parameters", {}).get(PARAMETER, {"string_value": "false"}).get("string_value", "")
    if word not in ("true", "false"):
        raise ModelError(f"model '{parsed['name']}': parameter '{PARAMETER}' must be true or false, got '{word}'")
    if word == "true" and (obstacle := _obstacle(parsed)):
        raise ModelError(f"model '{parsed['name']}': {obstacle} must not set the parameter '{PARAMETER}'")
    return word == "true"


def _obstacle(config: Mapping[str, Any]) -> str | None:
    """Return what a model is that needs a process of its own."""
    if config.get("model_transaction_policy", {}).get("decoupled"):
        return "a decoupled model"
    if "EXECUTION_ENV_PATH" in config.get("parameters", {}):
        return "a model with an EXECUTION_ENV_PATH"
    for each in (*config["input"], *config["output"]):
        if tensors.data_type(each["data_type"]) not in {*tensors.DTYPES, tensors.TEXT}:
            return f"a model with a tensor of {each['data_type']}, '{each['name']}',"
    return None


class InProcessModel:
    """One instance of one Python model.

    Args:
        config: Triton's JSON form of the configuration.
        folder: the version's folder, which holds ``model.py``.
        kind: Triton's instance kind.
        device_id: which GPU.

    Raises:
        ModelError: it could not be loaded.
    """

    #: Triton's own thread of the instance answers, and nothing beside it.
    workers = 0
    long_above = 0

    def __init__(self, config: str, folder: str, kind: str, device_id: int) -> None:
        parsed = json.loads(config)
        self._name = parsed["name"]
        self._data_types = {each["name"]: tensors.data_type(each["data_type"]) for each in parsed["output"]}
        self.is_batching = parsed["max_batch_size"] > 0
        version = Path(folder)
        instance = f"{self._name}_{next(_numbers)}"
        file = version / (parsed.get("default_model_filename") or "model.py")
        try:
            self._model = _load(file, f"trident_hosted_{instance}").TritonPythonModel()
            if hasattr(self._model, "initialize"):
                self._model.initialize(
                    {
                        "model_config": config,
                        "model_instance_kind": kind,
                        "model_instance_name": instance,
                        "model_instance_device_id": str(device_id),
                        "model_repository": str(version.parent),
                        "model_version": version.name,
                        "model_name": self._name,
                    }
                )
        # One model's failure, whatever it is, must not be taken for the backend's.
        except Exception as error:
            raise ModelError(self._log_failure(error)) from error

    def __str__(self) -> str:
        return f"model '{self._name}': Python, in Triton's process"

    def execute(self, requests: Sequence[Mapping[str, tensors.Tensor]], company: int) -> list[list[Output] | Error]:
        """Answer all requests; those that cannot be read are left out of what the model is given.

        Args:
            requests: each one's inputs by name. Their memory is Triton's, and no longer valid after this call.
            company: how many batches, this one among them, are being answered in Triton's process.
        """
        answers: dict[int, list[Output] | Error] = {}
        readable: dict[int, InferenceRequest] = {}
        for place, request in enumerate(requests):
            try:
                readable[place] = InferenceRequest([_input(name, tensor) for name, tensor in request.items()])
            except ValueError as error:
                answers[place] = (TritonError.INVALID_ARG, f"model '{self._name}': {error}")
        if readable:
            answers.update(zip(readable, self._run([*readable.values()]), strict=True))
        return [answers[place] for place in range(len(requests))]

    def finalize(self) -> None:
        """Let the model tidy up."""
        if hasattr(self._model, "finalize"):
            try:
                self._model.finalize()
            # Nobody waits for it.
            except Exception as error:
                self._log_failure(error)

    def _run(self, requests: list[InferenceRequest]) -> list[list[Output] | Error]:
        try:
            responses = self._model.execute(requests)
            if not isinstance(responses, list) or len(responses) != len(requests):
                given = len(responses) if isinstance(responses, list) else type(responses).__name__
                raise ModelError(f"execute must return a list of {len(requests)} responses, got {given}")
        # One batch's failure, whatever it is, must reach its callers and leave the server alive.
        except Exception as error:
            return [(TritonError.INTERNAL, self._log_failure(error))] * len(requests)
        return [self._answer(response) for response in responses]

    def _answer(self, response: Any) -> list[Output] | Error:
        try:
            if not isinstance(response, InferenceResponse):
                raise ModelError(f"execute must return responses, not {type(response).__name__}")
            refusal = response.error()
            if refusal is not None:
                return refusal.code(), refusal.message()
            return [self._output(each.name(), each.as_numpy()) for each in response.output_tensors()]
        # Of one request, as above.
        except Exception as error:
            return TritonError.INTERNAL, self._log_failure(error)

    def _output(self, name: str, array: Array) -> Output:
        if name not in self._data_types:
            raise ModelError(f"output '{name}' is not configured")
        kind = self._data_types[name]
        fits = array.dtype.kind in "OS" if kind == tensors.TEXT else array.dtype == tensors.DTYPES[kind]
        if not fits:
            raise ModelError(f"output '{name}' is configured {kind}, but the model gave {array.dtype}")
        return tensors.write(name, kind, array)

    def _log_failure(self, error: Exception) -> str:
        """Return what a caller is told; where it happened is for the log alone."""
        log(Level.ERROR, f"model '{self._name}': {''.join(traceback.format_exception(error))}")
        what = str(error) if isinstance(error, ModelError) else f"{type(error).__name__}: {error}"
        return f"model '{self._name}': {what}"


def _load(file: Path, name: str) -> Any:
    sys.modules[UTILS] = backend_utils
    # As a package, so that it can import what lies beside it, which other models may have under the same name.
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=[str(file.parent)])
    if spec is None or spec.loader is None:
        raise ModelError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _input(name: str, tensor: tensors.Tensor) -> backend_utils.Tensor:
    array = tensors.read(name, tensor)
    # A model may keep what it is given.
    return backend_utils.Tensor(name, array if array.dtype.hasobject else array.copy())
