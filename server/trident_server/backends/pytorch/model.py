"""Entry point of the ``pytorch`` backend: what Triton's Python stub loads for every ``backend: "pytorch"`` model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from trident_server.backends.pytorch.batch import Inputs, decode, join, split
from trident_server.backends.pytorch.configuration import STRING, ModelConfiguration
from trident_server.backends.pytorch.errors import BackendError, ConfigurationError, RequestError
from trident_server.backends.pytorch.naming import bind_inputs, bind_outputs


class TritonPythonModel:
    """One instance of one TorchScript model, in a process of its own."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the model.

        Args:
            args: Triton's; ``model_config`` is the configuration in JSON.

        Raises:
            ConfigurationError: the model cannot be served as configured.
        """
        self.configuration = ModelConfiguration.parse(json.loads(args["model_config"]))
        file = Path(args["model_repository"]) / args["model_version"] / self.configuration.file_name
        if not file.is_file():
            raise ConfigurationError(f"there is no TorchScript file {file}")
        # Importing torch takes seconds, which a model that cannot be served is not worth.
        from trident_server.backends.pytorch.torchscript import TorchScriptModule

        self.module = TorchScriptModule(
            file,
            kind=args["model_instance_kind"],
            device_id=int(args["model_instance_device_id"]),
            threads=self.configuration.threads(),
            parameters=self.configuration.parameters,
        )
        positions = bind_inputs(
            [each.name for each in self.configuration.inputs],
            [each.name for each in self.configuration.batch_inputs],
            self.module.arguments,
        )
        # Of each argument, the place of the input that fills it.
        self.order = sorted(range(len(positions)), key=positions.__getitem__)
        outputs = self.configuration.outputs
        self.outputs = list(zip(outputs, bind_outputs([each.name for each in outputs]), strict=True))
        pb_utils.Logger.log_info(f"model '{self.configuration.name}': {self.module}")

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer all requests with one ``forward`` call; one by one where the model has no batch dimension."""
        if self.configuration.max_batch_size == 0:
            return [response for request in requests for response in self._answer([request])]
        return self._answer(requests)

    def _answer(self, requests: Sequence[Any]) -> list[Any]:
        """Answer one batch. A request that cannot be read is left out of it and gets its error."""
        responses: dict[int, Any] = {}
        readable: dict[int, Inputs] = {}
        for place, request in enumerate(requests):
            try:
                readable[place] = self._read(request)
            except RequestError as error:
                responses[place] = self._failure(error)
        if readable:
            responses.update(zip(readable, self._run([*readable.values()]), strict=True))
        return [responses[place] for place in range(len(requests))]

    def _read(self, request: Any) -> Inputs:
        inputs = {}
        for each in self.configuration.inputs:
            tensor = pb_utils.get_input_tensor_by_name(request, each.name)
            if tensor is None:
                raise RequestError(f"input '{each.name}' is missing; the pytorch backend needs every configured input")
            array = tensor.as_numpy()
            inputs[each.name] = decode(each.name, array) if each.data_type == STRING else array
        return inputs

    def _run(self, requests: Sequence[Inputs]) -> list[Any]:
        try:
            given = join(self.configuration, requests)
            arrays = self.module([given[place] for place in self.order], self.outputs)
            parts = {
                output.name: split(self.configuration, output, array, requests)
                for (output, _), array in zip(self.outputs, arrays, strict=True)
            }
        # One batch's failure, whatever it is, must reach its callers and leave the server alive.
        except Exception as error:
            return [self._failure(error) for _ in requests]
        # Of these, the stub sends on what each request asked for.
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor(name, each[place]) for name, each in parts.items()])
            for place in range(len(requests))
        ]

    def _failure(self, error: Exception) -> Any:
        code = error.code if isinstance(error, BackendError) else BackendError.code
        message = f"model '{self.configuration.name}': {error}"
        pb_utils.Logger.log_error(message)
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(message, getattr(pb_utils.TritonError, code)))
