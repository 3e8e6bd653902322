"""Stands in for ``triton_python_backend_utils``, which exists only inside Triton, to run a Python model in a test."""

import importlib.util
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest


class Tensor:
    def __init__(self, name: str, array: np.ndarray) -> None:
        self._name, self._array = name, array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray:
        return self._array


class TritonError(Exception):
    INVALID_ARG = "INVALID_ARG"

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class InferenceResponse:
    def __init__(self, output_tensors: list[Tensor] | None = None, error: TritonError | None = None) -> None:
        self.outputs = {tensor.name(): tensor.as_numpy() for tensor in output_tensors or []}
        self.error = error


def get_input_tensor_by_name(tensors: list[Tensor], name: str) -> Tensor | None:
    return next((tensor for tensor in tensors if tensor.name() == name), None)


class FakeTriton:
    """What a test needs to play Triton's part."""

    @staticmethod
    def request(**tensors: np.ndarray) -> list[Tensor]:
        return [Tensor(name, array) for name, array in tensors.items()]

    @staticmethod
    def texts(*values: str | bytes) -> np.ndarray:
        encoded = [value if isinstance(value, bytes) else value.encode() for value in values]
        return np.array([[value] for value in encoded], dtype=np.object_)

    @staticmethod
    def load(file: Path, parameters: dict[str, str]) -> Any:
        """Import a repository's ``model.py`` with the fake in place and initialise it."""
        fake = types.ModuleType("triton_python_backend_utils")
        for part in (Tensor, TritonError, InferenceResponse, get_input_tensor_by_name):
            setattr(fake, part.__name__, part)
        spec = importlib.util.spec_from_file_location(f"repository_{file.parents[1].name}", file)
        if spec is None or spec.loader is None:
            raise ImportError(f"{file} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        sys.modules["triton_python_backend_utils"] = fake
        try:
            # No __pycache__ in the repository: it would travel into images with it.
            exec(compile(file.read_text(), str(file), "exec"), module.__dict__)
        finally:
            del sys.modules["triton_python_backend_utils"]
        model = module.TritonPythonModel()
        if hasattr(model, "initialize"):
            config = {"parameters": {key: {"string_value": value} for key, value in parameters.items()}}
            model.initialize({"model_config": json.dumps(config)})
        return model


@pytest.fixture(scope="session")
def fake_triton() -> FakeTriton:
    return FakeTriton()


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).resolve().parents[3] / "model_repository"
