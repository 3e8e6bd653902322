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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.jit._fuser import optimized_execution

from trident_server.backends.pytorch.batch import Argument, Array
from trident_server.backends.pytorch.configuration import ELEMENT_TYPES, STRING, Tensor
from trident_server.backends.pytorch.errors import AnswerError, ConfigurationError, OutputError
from trident_server.backends.pytorch.parameters import Parameters
from trident_server.backends.pytorch.prepacking import nodes, prepack

Answer = torch.Tensor | list[str]


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
        try:
            with torch.inference_mode(parameters.inference_mode):
                self._module: Any = torch.jit.load(  # type: ignore[no-untyped-call]
                    str(file), map_location=None if kind == "MODEL" else self._device
                )
            self.arguments = _argument_names(self._module)
            self.is_stateless = is_stateless(self._module)
            self._prepacked = prepack(self._module) if parameters.optimized_execution else 0
        except (RuntimeError, AttributeError) as error:
            raise ConfigurationError(f"{file} is not a TorchScript module with a forward method: {error}") from error

    def __str__(self) -> str:
        parameters = self._parameters
        return (
            f"TorchScript on {self._device}, {self._threads} threads inside an operation and "
            f"{torch.get_num_interop_threads()} for operations side by side, "
            f"inference mode {_on(parameters.inference_mode)}, profiling {_on(parameters.jit_profiling)}, "
            f"{self._prepacked} linear layers with prepacked weights"
        )

    def __call__(
        self, arguments: Sequence[Argument], outputs: Sequence[tuple[Tensor, int]], company: int = 1
    ) -> list[Array]:
        """Call ``forward``.

        Args:
            arguments: in ``forward``'s order.
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
        # Both are properties of the calling thread.
        with inference, optimized_execution(self._parameters.optimized_execution):
            answers = flatten(self._module(*(self._to_torch(each) for each in arguments)))
            arrays = [to_numpy(tensor, _at(answers, tensor, position)) for tensor, position in outputs]
        if self._parameters.cache_cleaning and self._device.type == "cuda":
            torch.cuda.empty_cache()
        return arrays

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


def is_stateless(module: Any) -> bool:
    """Return whether ``forward`` touches no attribute, as of a frozen module: then several calls may run at a time."""
    return all(node.kind() not in {"prim::GetAttr", "prim::SetAttr"} for node in nodes(module.inlined_graph))


def flatten(answer: object) -> list[Answer]:
    """Return ``forward``'s answer as a list of tensors and lists of ``str``.

    Raises:
        AnswerError: it is something else.
    """
    return [_checked(each) for each in answer] if isinstance(answer, tuple) else [_checked(answer)]


def to_numpy(tensor: Tensor, answer: Answer) -> Array:
    """Return an output as an array of the configured type, without a copy where it is on the CPU.

    Raises:
        OutputError: it is a scalar or of another type.
    """
    if isinstance(answer, list):
        if tensor.data_type != STRING:
            raise OutputError(f"output '{tensor.name}' is configured {tensor.data_type}, but forward returned text")
        return np.array([text.encode() for text in answer], dtype=np.object_)
    if str(answer.dtype) != f"torch.{ELEMENT_TYPES.get(tensor.data_type)}":
        raise OutputError(
            f"output '{tensor.name}' is configured {tensor.data_type}, but forward returned {answer.dtype}"
        )
    if answer.dim() == 0:
        raise OutputError(f"output '{tensor.name}' is a scalar; forward must return at least one dimension")
    array: Array = answer.detach().cpu().numpy()
    return array


def _checked(answer: object) -> Answer:
    if isinstance(answer, torch.Tensor) or (isinstance(answer, list) and all(isinstance(each, str) for each in answer)):
        return answer
    raise AnswerError(
        f"forward must return a tensor, a List[str] or a flat tuple of those, not one with a {type(answer).__name__}"
    )


def _at(answers: Sequence[Answer], tensor: Tensor, position: int) -> Answer:
    if position >= len(answers):
        raise OutputError(
            f"output '{tensor.name}' is configured as number {position}, counted from 0, of forward's outputs, and it "
            f"returned {len(answers)}"
        )
    return answers[position]


def _argument_names(module: Any) -> list[str]:
    arguments = module.forward.schema.arguments[1:]
    for argument in arguments:
        if argument.type.kind() not in {"TensorType", "ListType"}:
            raise ConfigurationError(
                f"argument '{argument.name}' of forward is of type {argument.type}; arguments must be tensors or lists"
            )
    return [str(argument.name) for argument in arguments]


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
