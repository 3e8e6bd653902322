"""Stands in for ``triton_python_backend_utils`` where a Python model runs inside Triton's process.

It has what a model needs that answers each request once, from its tensors in the host's memory: the classes here, which
in a process of its own are the stub's, and the functions of the wheel's own module. For the rest (calls of other
models, decoupled responses, DLPack) a model needs that process.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any, NoReturn

from trident_server.backends.tensors import Array
from trident_server.backends.triton_log import Level, log
from trident_server.wheel import find_embedded_triton

CODES = (
    "UNKNOWN",
    "INTERNAL",
    "NOT_FOUND",
    "INVALID_ARG",
    "UNAVAILABLE",
    "UNSUPPORTED",
    "ALREADY_EXISTS",
    "CANCELLED",
)


@cache
def _functions() -> ModuleType:
    file = find_embedded_triton().python_backend / "triton_python_backend_utils.py"
    spec = importlib.util.spec_from_file_location("trident_triton_functions", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def __getattr__(name: str) -> Any:
    if name.startswith("__") or not hasattr(_functions(), name):
        _refuse(name)
    # Kept, for models ask for it with every request.
    return globals().setdefault(name, getattr(_functions(), name))


def _refuse(name: str) -> NoReturn:
    raise AttributeError(
        f"triton_python_backend_utils has no '{name}' inside Triton's process: a model that needs it must not set the "
        "parameter IN_PROCESS"
    )


class _Limited:
    def __getattr__(self, name: str) -> NoReturn:
        _refuse(f"{type(self).__name__}.{name}")


class TritonModelException(Exception):  # noqa: N818
    """Raised by a model, for a whole batch."""


class TritonError(_Limited):
    """Why a request has no outputs.

    Args:
        message: what the caller is told.
        code: one of this class's constants.

    Raises:
        ValueError: it is none of them.
    """

    UNKNOWN, INTERNAL, NOT_FOUND, INVALID_ARG, UNAVAILABLE, UNSUPPORTED, ALREADY_EXISTS, CANCELLED = CODES

    def __init__(self, message: str, code: str = INTERNAL) -> None:
        if code not in CODES:
            raise ValueError(f"{code!r} is no code of TritonError, which are {', '.join(CODES)}")
        self._message, self._code = str(message), code

    def message(self) -> str:
        """What the caller is told."""
        return self._message

    def code(self) -> str:
        """One of this class's constants."""
        return self._code


class Tensor(_Limited):
    """A named array.

    Raises:
        TypeError: it is something else than an array of NumPy's.
    """

    def __init__(self, name: str, array: Array) -> None:
        if not hasattr(array, "dtype"):
            raise TypeError(f"tensor '{name}' must be given a NumPy array, not {type(array).__name__}")
        self._name, self._array = name, array

    def name(self) -> str:
        """Return its name."""
        return self._name

    def as_numpy(self) -> Array:
        """Return its content; of ``bytes`` for text."""
        return self._array

    def is_cpu(self) -> bool:
        """Return True: tensors lie in the host's memory."""
        return True

    @staticmethod
    def from_dlpack(name: str, tensor: object) -> NoReturn:
        """Raise AttributeError: there is no DLPack here."""
        _refuse("Tensor.from_dlpack")


class InferenceRequest(_Limited):
    """What was asked.

    Raises:
        AttributeError: it is made to call another model.
    """

    def __init__(self, inputs: Sequence[Tensor] = (), **call: Any) -> None:
        if call:
            _refuse("InferenceRequest.exec")
        self._inputs = list(inputs)

    def inputs(self) -> list[Tensor]:
        """Return the tensors that were sent."""
        return self._inputs


class InferenceResponse(_Limited):
    """What is answered: the outputs, or the error where there is one."""

    def __init__(self, output_tensors: Sequence[Tensor] = (), error: TritonError | None = None) -> None:
        self._output_tensors, self._error = list(output_tensors), error

    def output_tensors(self) -> list[Tensor]:
        """Return the outputs."""
        return self._output_tensors

    def has_error(self) -> bool:
        """Whether there is an error."""
        return self._error is not None

    def error(self) -> TritonError | None:
        """Return the error, if there is one."""
        return self._error


class Logger:
    """Writes to Triton's log."""

    @staticmethod
    def log_info(message: str) -> None:
        """Write it as information."""
        log(Level.INFO, message)

    @staticmethod
    def log_warn(message: str) -> None:
        """Write it as a warning."""
        log(Level.WARN, message)

    @staticmethod
    def log_error(message: str) -> None:
        """Write it as an error."""
        log(Level.ERROR, message)

    @staticmethod
    def log_verbose(message: str) -> None:
        """Write it where Triton logs verbosely."""
        log(Level.VERBOSE, message)
