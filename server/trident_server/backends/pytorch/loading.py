"""TorchScript files, loaded: once for all instances of a model that share their weights, else once for each."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import torch

from trident_server.backends.pytorch.errors import ConfigurationError
from trident_server.backends.pytorch.kernels import Installed, install
from trident_server.backends.pytorch.parameters import Parameters
from trident_server.backends.pytorch.prepacking import nodes, prepack

DICTIONARY = "Dict[str, Tensor]"


@dataclass(eq=False)
class LoadedModule:
    """A TorchScript module as it lies in memory.

    Attributes:
        module: the module.
        arguments: names of ``forward``'s arguments, without ``self``.
        takes_dictionary: ``forward`` takes all inputs as one ``Dict[str, Tensor]``.
        is_stateless: no call can change the module, so several may run at a time.
        prepacked: linear layers with prepacked weights.
        installed: what is computed in C.
        turn: held by a call that could change the module.
    """

    module: Any
    arguments: list[str]
    takes_dictionary: bool
    is_stateless: bool
    prepacked: int
    installed: Installed
    turn: threading.Lock = field(default_factory=threading.Lock)


#: What instances of this process share. It lives as long as one of them does; a file that was changed is another one.
_shared: WeakValueDictionary[tuple[object, ...], LoadedModule] = WeakValueDictionary()
_loading = threading.Lock()


def load(file: Path, device: torch.device, anywhere: bool, parameters: Parameters) -> tuple[LoadedModule, bool]:
    """Load a TorchScript file, or find it where ``ENABLE_WEIGHT_SHARING`` lets instances have one module.

    Args:
        file: the TorchScript file.
        device: where it is to lie.
        anywhere: it lies where the file says instead.
        parameters: how the module is executed.

    Returns:
        The module, and whether another instance had loaded it.

    Raises:
        ConfigurationError: see :class:`~trident_server.backends.pytorch.torchscript.TorchScriptModule`.
    """
    if not parameters.weight_sharing:
        return _load(file, device, anywhere, parameters), False
    facts = file.stat()
    key = (file.resolve(), facts.st_ino, facts.st_mtime_ns, facts.st_size, str(device), anywhere, parameters)
    with _loading:
        found = _shared.get(key)
        if found is not None:
            return found, True
        loaded = _load(file, device, anywhere, parameters)
        _shared[key] = loaded
        return loaded, False


def _load(file: Path, device: torch.device, anywhere: bool, parameters: Parameters) -> LoadedModule:
    try:
        with torch.inference_mode(parameters.inference_mode):
            module: Any = torch.jit.load(str(file), map_location=None if anywhere else device)
        arguments, takes_dictionary = _arguments(module)
        stateless = is_stateless(module)
        prepacked, installed = 0, Installed()
        if parameters.optimized_execution and parameters.prepacking:
            if device.type == "cpu" and not anywhere:
                installed = install(module)
            prepacked = prepack(module)
        return LoadedModule(module, arguments, takes_dictionary, stateless, prepacked, installed)
    except (RuntimeError, AttributeError) as error:
        raise ConfigurationError(f"{file} is not a TorchScript module with a forward method: {error}") from error


def is_stateless(module: Any) -> bool:
    """Return whether ``forward`` touches no attribute, as of a frozen module: then several calls may run at a time."""
    return all(node.kind() not in {"prim::GetAttr", "prim::SetAttr"} for node in nodes(module.inlined_graph))


def _arguments(module: Any) -> tuple[list[str], bool]:
    """Return the names of ``forward``'s arguments, and whether it takes one dictionary."""
    arguments = module.forward.schema.arguments[1:]
    kinds = [argument.type.kind() for argument in arguments]
    if len(kinds) > 1 and "DictType" in kinds:
        raise ConfigurationError(
            f"Multiple inputs of kind DictType were detected. Only a single input of type {DICTIONARY} is supported."
        )
    for argument, kind in zip(arguments, kinds, strict=True):
        if kind not in {"TensorType", "ListType"} and str(argument.type) != DICTIONARY:
            raise ConfigurationError(
                f"An input of type '{argument.type}' was detected in the model ('{argument.name}'). Only a single "
                f"input of type {DICTIONARY} or input(s) of type Tensor are supported."
            )
    return [str(argument.name) for argument in arguments], kinds == ["DictType"]
