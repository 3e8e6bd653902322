"""Entry point of the ``pytorch`` backend: what Triton's Python stub loads for every ``backend: "pytorch"`` model."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import triton_python_backend_utils as pb_utils
from torch.jit._fuser import optimized_execution

from trident_server.backends.pytorch import batch
from trident_server.backends.pytorch.configuration import (
    ConfigurationError,
    ModelConfiguration,
    bind_inputs,
    indexed,
)


class TritonPythonModel:
    """One instance of one TorchScript model, in a process of its own."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load ``model.pt`` as configured.

        Args:
            args: Triton's; ``model_config`` is the configuration in JSON.

        Raises:
            ConfigurationError: the configuration cannot be served.
            pb_utils.TritonModelException: ``model.pt`` is missing or is not TorchScript.
        """
        self.configuration = ModelConfiguration.parse(json.loads(args["model_config"]))
        self._set_threads()
        self._set_executor()
        self.device = _device(args["model_instance_kind"], args["model_instance_device_id"])
        file = Path(args["model_repository"]) / args["model_version"] / self.configuration.file_name
        if not file.is_file():
            raise pb_utils.TritonModelException(f"model '{self.configuration.name}' has no TorchScript file {file}")
        try:
            self.module: Any = torch.jit.load(str(file), map_location=self.device).eval()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise pb_utils.TritonModelException(f"{file} is not a TorchScript file: {error}") from error
        schema: Any = self.module.forward.schema
        names = [each.name for each in self.configuration.inputs] + [
            each.name for each in self.configuration.batch_inputs
        ]
        self.positions = bind_inputs(names, [str(argument.name) for argument in schema.arguments[1:]])
        output_names = [each.name for each in self.configuration.outputs]
        self.output_positions = indexed(output_names) or list(range(len(output_names)))

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer all requests with one ``forward`` call; one by one where the model has no batch dimension."""
        if self.configuration.max_batch_size == 0:
            return [response for request in requests for response in self._answer([request])]
        return self._answer(requests)

    def _answer(self, requests: Sequence[Any]) -> list[Any]:
        try:
            arrays = {
                each.name: [pb_utils.get_input_tensor_by_name(request, each.name).as_numpy() for request in requests]
                for each in self.configuration.inputs
            }
            shapes = {name: [array.shape for array in each] for name, each in arrays.items()}
            outputs = self._forward(arrays, shapes)
            sizes = [shape[0] for shape in shapes[self.configuration.inputs[0].name]]
            per_output = {
                each.name: batch.split(self.configuration, each, batch.to_array(each, outputs[position]), sizes, shapes)
                for each, position in zip(self.configuration.outputs, self.output_positions, strict=True)
            }
        # One batch's failure, whatever it is, must reach its callers and leave the server alive.
        except Exception as error:
            return [self._failure(error) for _ in requests]
        return [
            pb_utils.InferenceResponse(
                [
                    pb_utils.Tensor(name, arrays[index])
                    for name, arrays in per_output.items()
                    if name in request.requested_output_names()
                ]
            )
            for index, request in enumerate(requests)
        ]

    def _forward(self, arrays: Mapping[str, Any], shapes: Mapping[str, Any]) -> list[batch.Argument]:
        given: list[batch.Argument] = [
            batch.join(each, arrays[each.name], self.device) for each in self.configuration.inputs
        ]
        given += [batch.describe(each, shapes[each.source], self.device) for each in self.configuration.batch_inputs]
        arguments = [given[self.positions.index(place)] for place in range(len(given))]
        with torch.inference_mode() if self.inference_mode else torch.no_grad(), optimized_execution(self.optimized):
            answer = self.module(*arguments)
        return batch.flat_outputs(answer, max(self.output_positions) + 1)

    def _failure(self, error: Exception) -> Any:
        # The stub adds these names only after this module was imported.
        refused = isinstance(error, batch.ContractError)
        code = pb_utils.TritonError.INVALID_ARG if refused else pb_utils.TritonError.INTERNAL
        message = f"model '{self.configuration.name}': {error}"
        pb_utils.Logger.log_error(message)
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, code))

    def _set_threads(self) -> None:
        torch.set_num_threads(self.configuration.intra_op_threads())
        inter_op = self.configuration.integer("INTER_OP_THREAD_COUNT", 1)
        # A process may set this once, and a sentence encoder has no independent branches to run side by side.
        with contextlib.suppress(RuntimeError):
            torch.set_num_interop_threads(max(1, inter_op))

    def _set_executor(self) -> None:
        """Set TorchScript's executor. Profiling is off unless asked for: it re-optimises for every new shape."""
        configuration = self.configuration
        self.inference_mode = configuration.boolean("INFERENCE_MODE", True)
        self.optimized = not configuration.boolean("DISABLE_OPTIMIZED_EXECUTION", False)
        torch._C._jit_set_profiling_executor(configuration.boolean("ENABLE_JIT_EXECUTOR", True))
        torch._C._jit_set_profiling_mode(configuration.boolean("ENABLE_JIT_PROFILING", False))
        torch._C._jit_set_texpr_fuser_enabled(configuration.boolean("ENABLE_TENSOR_FUSER", False))
        torch.backends.cudnn.enabled = not configuration.boolean("DISABLE_CUDNN", False)
        # Read for their values' sake: instances are processes here, which share no weights and own no CUDA cache.
        configuration.boolean("ENABLE_WEIGHT_SHARING", False)
        configuration.boolean("ENABLE_CACHE_CLEANING", False)


def _device(kind: str, device_id: str) -> torch.device:
    if kind != "GPU":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigurationError("the instance group asks for a GPU, and this torch sees none; use KIND_CPU")
    return torch.device("cuda", int(device_id))
