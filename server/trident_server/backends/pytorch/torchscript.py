"""The TorchScript module: how it is loaded, with how many threads and under which executor it runs.

Profiling is off unless ``ENABLE_JIT_PROFILING`` asks for it: TorchScript's profiling executor records the shapes of a
model's first calls and optimises for them, while sentence traffic is nothing but new shapes. Milliseconds of CPU time
on one core, torch 2.13, the bundled encoder in bfloat16, 60 batches of different shapes, best of three processes:

=====================================  ==========  ===========  ================
executor                               first call  second call  later, each
=====================================  ==========  ===========  ================
profiling on (torch's default)                 90           65               9.8
profiling off (the default here)               28           15              10.1
``ENABLE_JIT_EXECUTOR`` false                  70           15              10.8
``DISABLE_OPTIMIZED_EXECUTION`` true           23           15               9.5
=====================================  ==========  ===========  ================

So on a CPU profiling costs an eighth of a second at the start and later gains nothing: torch's wheels have no fuser for
the CPU that could use what was learnt.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.jit._fuser import optimized_execution

from trident_server.backends.pytorch.batch import Argument, Array
from trident_server.backends.pytorch.errors import AnswerError, ConfigurationError, OutputError
from trident_server.backends.pytorch.loading import load
from trident_server.backends.pytorch.parameters import Parameters
from trident_server.backends.pytorch.tensors import ELEMENT_TYPES, STRING, Tensor

Answer = torch.Tensor | list[str]
DATA_TYPES = {f"torch.{name}": data_type for data_type, name in ELEMENT_TYPES.items()}


class TorchScriptModule:
    """A loaded ``model.pt``, called with and answering in NumPy arrays and lists of ``str``.

    Args:
        file: the TorchScript file.
        kind: Triton's instance kind: ``GPU`` loads to that GPU, ``CPU`` to the CPU, ``MODEL`` where the file says.
        device_id: which GPU.
        threads: threads inside an operation.
        parameters: how the module is executed.

    Raises:
        ConfigurationError: the file is not TorchScript, its ``forward`` takes something that is neither tensor nor
            list, or the GPU is missing.
    """

    def __init__(self, file: Path, kind: str, device_id: int, threads: int, parameters: Parameters) -> None:
        self._parameters = parameters
        self._threads = threads
        self._set_up(threads)
        # A process may set this only once, and a sentence encoder has no independent branches to run side by side.
        with contextlib.suppress(RuntimeError):
            torch.set_num_interop_threads(max(1, parameters.inter_op_threads))
        torch.backends.cudnn.enabled = parameters.cudnn
        self._device = _device(kind, device_id)
        self._loaded, self.is_reused = load(file, self._device, kind == "MODEL", parameters)
        self._module: Any = self._loaded.module
        self.arguments = self._loaded.arguments
        self.takes_dictionary = self._loaded.takes_dictionary
        self.is_stateless = self._loaded.is_stateless

    def __str__(self) -> str:
        parameters = self._parameters
        return (
            f"TorchScript on {self._device}, {self._threads} threads inside an operation and "
            f"{torch.get_num_interop_threads()} for operations side by side, "
            f"inference mode {_on(parameters.inference_mode)}, profiling {_on(parameters.jit_profiling)}, "
            f"in C {self._loaded.installed.attentions} attentions and {self._loaded.installed.layers} layers in int8, "
            f"{self._loaded.prepacked} linear layers with prepacked weights"
        )

    def __call__(
        self,
        arguments: Sequence[Argument] | Mapping[str, Argument],
        outputs: Sequence[tuple[Tensor, int]],
        company: int = 1,
    ) -> list[Array]:
        """Call ``forward``.

        Args:
            arguments: in ``forward``'s order, or by name where it takes a dictionary.
            outputs: the configured outputs, each with its position in the answer.
            company: how many calls, this one among them, share the threads.

        Returns:
            The outputs, whole batch each; text as an object array of UTF-8 bytes.

        Raises:
            AnswerError: the answer is no tensor, ``List[str]`` or flat tuple of those.
            OutputError: an output is missing, a scalar, or of another type than configured.
        """
        self._set_up(max(1, self._threads // company))
        inference = torch.inference_mode() if self._parameters.inference_mode else torch.no_grad()
        turn = contextlib.nullcontext() if self.is_stateless else self._loaded.turn
        # Inference mode and optimised execution are properties of the calling thread.
        with turn, inference, optimized_execution(self._parameters.optimized_execution):
            answers = flatten(self._call(arguments))
            arrays = [to_numpy(tensor, _at(answers, tensor, position)) for tensor, position in outputs]
        if self._parameters.cache_cleaning and self._device.type == "cuda":
            torch.cuda.empty_cache()
        return arrays

    def _call(self, arguments: Sequence[Argument] | Mapping[str, Argument]) -> object:
        if isinstance(arguments, Mapping):
            given = [{name: self._to_torch(each) for name, each in arguments.items()}]
            return self._failing_in_its_words(given)
        return self._failing_in_its_words([self._to_torch(each) for each in arguments])

    def _failing_in_its_words(self, arguments: Sequence[object]) -> object:
        try:
            return self._module(*arguments)
        # Whatever a module raises.
        except Exception as error:
            raise AnswerError(f"PyTorch execute failure: {error}") from error

    def _set_up(self, threads: int) -> None:
        """Make torch compute as this model is configured; other models of the process may be otherwise."""
        # The first is the calling thread's own, the others are the process's.
        torch.set_num_threads(threads)
        torch._C._jit_set_profiling_executor(self._parameters.jit_executor)
        torch._C._jit_set_profiling_mode(self._parameters.jit_profiling)
        if self._parameters.tensor_fuser is not None:
            torch._C._jit_set_texpr_fuser_enabled(self._parameters.tensor_fuser)

    def _to_torch(self, argument: Argument) -> Answer:
        return argument if isinstance(argument, list) else torch.from_numpy(argument).to(self._device)


def flatten(answer: object) -> list[Answer]:
    """Return ``forward``'s answer as a list of tensors and lists of ``str``.

    Raises:
        AnswerError: it is something else.
    """
    if isinstance(answer, tuple):
        return [_checked(each, f" at index {index}") for index, each in enumerate(answer)]
    return [_checked(answer)]


def to_numpy(tensor: Tensor, answer: Answer) -> Array:
    """Return an output as an array of the configured type, without a copy where it is on the CPU.

    Raises:
        OutputError: it is a scalar or of another type.
    """
    if isinstance(answer, list):
        if tensor.data_type != STRING:
            raise OutputError(
                f"configuration expects datatype {tensor.data_type} for output '{tensor.name}', model provides "
                f"{STRING}; the C++ backend would answer with the text all the same"
            )
        return np.array([text.encode() for text in answer], dtype=np.object_)
    if str(answer.dtype) != f"torch.{ELEMENT_TYPES.get(tensor.data_type)}":
        provided = DATA_TYPES.get(str(answer.dtype), str(answer.dtype))
        raise OutputError(
            f"configuration expects datatype {tensor.data_type} for output '{tensor.name}', model provides {provided}"
        )
    if answer.dim() == 0:
        raise OutputError(f"output '{tensor.name}' is a scalar which is not supported.")
    array: Array = answer.detach().cpu().numpy()
    return array


def _checked(answer: object, where: str = "") -> Answer:
    if isinstance(answer, torch.Tensor) or (isinstance(answer, list) and all(isinstance(each, str) for each in answer)):
        return answer
    if isinstance(answer, list):
        kind = type(next(each for each in answer if not isinstance(each, str))).__name__
        raise AnswerError(
            f"PyTorch execute failure: output{where} must be of type Tensor or List[str], received List[{kind}]"
        )
    raise AnswerError(
        f"PyTorch execute failure: output{where} must be of type Tensor, List[str] or Tuple containing one of these "
        f"two types. It should not be a List / Dictionary of Tensors or a Scalar; it is a {type(answer).__name__}"
    )


def _at(answers: Sequence[Answer], tensor: Tensor, position: int) -> Answer:
    if position >= len(answers):
        raise OutputError(
            f"The output {tensor.name} in the model configuration refers to an output index which doesn't exist. This "
            f"model has {len(answers)} outputs"
        )
    return answers[position]


def _on(flag: bool) -> str:
    return "on" if flag else "off"


def _device(kind: str, device_id: int) -> torch.device:
    if kind != "GPU":
        return torch.device("cpu")
    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device_id >= seen:
        raise ConfigurationError(
            f"the instance group asks for GPU {device_id}, and this torch ({torch.__version__}) sees {seen}; "
            "use kind: KIND_CPU"
        )
    return torch.device("cuda", device_id)
