"""One instance of one TorchScript model, whoever hands it requests: a stub's process or Triton's own."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trident_server.backends.pytorch.batch import Array, Inputs, decode, join, split
from trident_server.backends.pytorch.configuration import ModelConfiguration
from trident_server.backends.pytorch.errors import BackendError, ConfigurationError, RequestError, own_words
from trident_server.backends.pytorch.naming import bind_inputs, bind_outputs, index_of
from trident_server.backends.pytorch.tensors import STRING

#: Of one request, the array of an input by its name (of `bytes` for text); None where the request lacks it.
Request = Callable[[str], Any]


@dataclass(frozen=True)
class Outputs:
    """What a request is answered.

    Attributes:
        arrays: the outputs by name, in the order of names, as the C++ backend has them.
        states: what Triton is to keep for the sequence's next request, by name.
    """

    arrays: Mapping[str, Array]
    states: Mapping[str, Array]


@dataclass(frozen=True)
class Failure:
    """Why a request has no outputs.

    Attributes:
        code: name of the ``TritonError`` code.
        message: names the model and says what is accepted.
        logged: the same with where it happened, which no caller is told.
    """

    code: str
    message: str
    logged: str


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
            raise ConfigurationError(f"unable to find '{file}' for model instance '{self.configuration.name}'")
        # Importing torch takes seconds, which a model that cannot be served is not worth.
        from trident_server.backends.pytorch.torchscript import TorchScriptModule

        self._module = TorchScriptModule(
            file,
            kind=kind,
            device_id=device_id,
            threads=self.configuration.threads(),
            parameters=self.configuration.parameters,
        )
        #: What is given to forward: names of a dictionary's entries, or of each argument the place of its input.
        self._names = self._entries() if self._module.takes_dictionary else []
        self._order = [] if self._module.takes_dictionary else self._bound()
        outputs = self.configuration.outputs
        self._outputs = list(zip(outputs, bind_outputs([each.name for each in outputs]), strict=True))
        self._states = [(each.output, index_of(each.output.name) or 0) for each in self.configuration.states]
        # What torch and the model are made of lives as long as the process; the collector need not walk it again.
        gc.collect()
        gc.freeze()

    def __str__(self) -> str:
        return f"model '{self.configuration.name}': {self._module}"

    @property
    def lines(self) -> list[str]:
        """What the C++ backend logs of an instance as this one is loaded, in its words."""
        name = self.configuration.name
        reused = [f"Reusing TorchScript model for instance '{name}'"] if self._module.is_reused else []
        return [*self.configuration.parameters.lines(name), *reused]

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
        model, text = f"model '{self.configuration.name}'", str(error)
        return Failure(code, f"{model}: {own_words(text)}", f"{model}: {text}")

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
        for each in self.configuration.given:
            array = request(each.name)
            if array is None:
                raise RequestError(f"input '{each.name}' is missing; the pytorch backend needs every configured input")
            if each.ragged and array.size == 0:
                raise RequestError(
                    f"input '{each.name}' is ragged and has no elements: where requests join, the C++ backend would "
                    "give all that come after this one memory of nobody's"
                )
            inputs[each.name] = decode(each.name, array) if each.data_type == STRING else array
        return inputs

    def _run(self, requests: Sequence[Inputs], company: int) -> Sequence[Outputs | Failure]:
        try:
            given = join(self.configuration, requests)
            arguments = dict(zip(self._names, given, strict=True)) if self._names else [given[n] for n in self._order]
            wanted = [*self._outputs, *self._states]
            arrays = self._module(arguments, wanted, company)
            parts = [
                split(self.configuration, output, array, requests)
                for (output, _), array in zip(wanted, arrays, strict=True)
            ]
        # One batch's failure, whatever it is, must reach its callers and leave the server alive.
        except Exception as error:
            return [self.failure(error)] * len(requests)
        return [self._answered([each[place] for each in parts]) for place in range(len(requests))]

    def _answered(self, parts: Sequence[Array]) -> Outputs:
        outputs = len(self._outputs)
        arrays = {each.name: part for (each, _), part in zip(self._outputs, parts[:outputs], strict=True)}
        states = {each.name: part for (each, _), part in zip(self._states, parts[outputs:], strict=True)}
        return Outputs(dict(sorted(arrays.items())), states)

    def _bound(self) -> list[int]:
        configuration = self.configuration
        try:
            positions = bind_inputs(
                [each.name for each in configuration.inputs],
                [each.name for each in configuration.batch_inputs],
                self._module.arguments,
                [each.name for each in configuration.controls],
                [each.input.name for each in configuration.states],
            )
        except ConfigurationError as error:
            raise ConfigurationError(f"unable to load model '{configuration.name}', {error}") from error
        return sorted(range(len(positions)), key=positions.__getitem__)

    def _entries(self) -> list[str]:
        configuration = self.configuration
        if configuration.is_of_sequences or any(each.data_type == STRING for each in configuration.inputs):
            raise ConfigurationError(
                f"model '{configuration.name}' takes a Dict[str, Tensor], which holds neither text nor what "
                "sequence_batching adds: the C++ backend would load it and fail every request"
            )
        inputs = [each.name for each in configuration.inputs]
        return inputs + [each.name for each in configuration.batch_inputs]
