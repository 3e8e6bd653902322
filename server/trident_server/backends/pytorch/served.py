"""One instance of one TorchScript model, whoever hands it requests: a stub's process or Triton's own."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trident_server.backends.pytorch.batch import Array, Inputs, decode, join, split
from trident_server.backends.pytorch.configuration import STRING, ModelConfiguration
from trident_server.backends.pytorch.errors import BackendError, ConfigurationError, RequestError
from trident_server.backends.pytorch.naming import bind_inputs, bind_outputs

#: Of one request, the array of an input by its name (of `bytes` for text); None where the request lacks it.
Request = Callable[[str], Any]
Outputs = Mapping[str, Array]


@dataclass(frozen=True)
class Failure:
    """Why a request has no outputs.

    Attributes:
        code: name of the ``TritonError`` code.
        message: names the model and says what is accepted.
    """

    code: str
    message: str


class ServedModel:
    """A model as configured, ready to answer.

    Args:
        config: Triton's JSON form of the configuration.
        folder: the version's folder, which holds the TorchScript file.
        kind: Triton's instance kind: ``CPU``, ``GPU`` or ``MODEL``.
        device_id: which GPU.

    Raises:
        ConfigurationError: the model cannot be served as configured.
    """

    def __init__(self, config: Mapping[str, Any], folder: Path, kind: str, device_id: int) -> None:
        self.configuration = ModelConfiguration.parse(config)
        file = folder / self.configuration.file_name
        if not file.is_file():
            raise ConfigurationError(f"there is no TorchScript file {file}")
        # Importing torch takes seconds, which a model that cannot be served is not worth.
        from trident_server.backends.pytorch.torchscript import TorchScriptModule

        self._module = TorchScriptModule(
            file,
            kind=kind,
            device_id=device_id,
            threads=self.configuration.threads(),
            parameters=self.configuration.parameters,
        )
        positions = bind_inputs(
            [each.name for each in self.configuration.inputs],
            [each.name for each in self.configuration.batch_inputs],
            self._module.arguments,
        )
        # Of each argument, the place of the input that fills it.
        self._order = sorted(range(len(positions)), key=positions.__getitem__)
        outputs = self.configuration.outputs
        self._outputs = list(zip(outputs, bind_outputs([each.name for each in outputs]), strict=True))
        # What torch and the model are made of lives as long as the process; the collector need not walk it again.
        gc.collect()
        gc.freeze()

    def __str__(self) -> str:
        return f"model '{self.configuration.name}': {self._module}"

    @property
    def is_stateless(self) -> bool:
        """Whether no call can change the model, so that several may run at a time."""
        return self._module.is_stateless

    def answer(self, requests: Sequence[Request], company: int = 1) -> list[Outputs | Failure]:
        """Answer all requests with one ``forward`` call; one by one where the model has no batch dimension.

        Args:
            requests: of one batch.
            company: how many batches, this one among them, share the model's threads.
        """
        if self.configuration.max_batch_size == 0:
            return [answer for request in requests for answer in self._answer([request], company)]
        return self._answer(requests, company)

    def failure(self, error: Exception) -> Failure:
        """Return what a request is told of an error."""
        code = error.code if isinstance(error, BackendError) else BackendError.code
        return Failure(code, f"model '{self.configuration.name}': {error}")

    def _answer(self, requests: Sequence[Request], company: int) -> list[Outputs | Failure]:
        """Answer one batch. A request that cannot be read is left out of it and gets its error."""
        answers: dict[int, Outputs | Failure] = {}
        readable: dict[int, Inputs] = {}
        for place, request in enumerate(requests):
            try:
                readable[place] = self._read(request)
            except RequestError as error:
                answers[place] = self.failure(error)
        if readable:
            answers.update(zip(readable, self._run([*readable.values()], company), strict=True))
        return [answers[place] for place in range(len(requests))]

    def _read(self, request: Request) -> Inputs:
        inputs = {}
        for each in self.configuration.inputs:
            array = request(each.name)
            if array is None:
                raise RequestError(f"input '{each.name}' is missing; the pytorch backend needs every configured input")
            inputs[each.name] = decode(each.name, array) if each.data_type == STRING else array
        return inputs

    def _run(self, requests: Sequence[Inputs], company: int) -> Sequence[Outputs | Failure]:
        try:
            given = join(self.configuration, requests)
            arrays = self._module([given[place] for place in self._order], self._outputs, company)
            parts = {
                output.name: split(self.configuration, output, array, requests)
                for (output, _), array in zip(self._outputs, arrays, strict=True)
            }
        # One batch's failure, whatever it is, must reach its callers and leave the server alive.
        except Exception as error:
            return [self.failure(error)] * len(requests)
        return [{name: each[place] for name, each in parts.items()} for place in range(len(requests))]
