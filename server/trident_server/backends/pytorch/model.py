"""Entry point of the ``pytorch`` backend in a process of its own: what Triton's Python stub loads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from trident_server.backends.pytorch.batch import Array
from trident_server.backends.pytorch.errors import ConfigurationError
from trident_server.backends.pytorch.sequences import states_of
from trident_server.backends.pytorch.served import Failure, Outputs, ServedModel


class TritonPythonModel:
    """One instance of one TorchScript model, as the stub calls it."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the model.

        Args:
            args: Triton's; ``model_config`` is the configuration in JSON.

        Raises:
            ConfigurationError: the model cannot be served as configured.
        """
        config = json.loads(args["model_config"])
        if states_of(config):
            raise ConfigurationError(
                f"model '{config['name']}': a state of sequence_batching needs Triton's own process, and this model "
                "has one of its own"
            )
        self.model = ServedModel(
            config,
            Path(args["model_repository"]) / args["model_version"],
            kind=args["model_instance_kind"],
            device_id=int(args["model_instance_device_id"]),
        )
        for line in (*self.model.lines, f"{self.model}, in a process of its own"):
            pb_utils.Logger.log_info(line)

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer all requests; the stub sends on what each of them asked for."""
        return [_response(answer) for answer in self.model.answer([partial(_input, request) for request in requests])]


def _input(request: Any, name: str) -> Array | None:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy()


def _response(answer: Outputs | Failure) -> Any:
    if isinstance(answer, Failure):
        pb_utils.Logger.log_error(answer.logged)
        code = getattr(pb_utils.TritonError, answer.code)
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(answer.message, code))
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in answer.arrays.items()])
