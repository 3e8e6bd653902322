"""Which argument of ``forward`` an input is, and which of its outputs an output is.

Source of the rules: the C++ backend's documentation, "Model Configuration, inputs and outputs", and its source.
"""

from __future__ import annotations

from collections.abc import Sequence

from trident_server.backends.pytorch.errors import ConfigurationError


def bind_inputs(inputs: Sequence[str], batch_inputs: Sequence[str], arguments: Sequence[str]) -> list[int]:
    """Return the position among ``forward``'s arguments of each input and, after them, each batch input.

    By name where all inputs are argument names; else by the index that all end in (``<name>__<index>``); else in the
    order of the configuration, batch inputs last. The inputs decide which; batch inputs follow. A configuration whose
    batch inputs do not fit that is refused: the C++ backend would overwrite the first argument with them.

    Args:
        inputs: configured inputs.
        batch_inputs: target names of the batch inputs, in configuration order.
        arguments: names of ``forward``'s arguments, without ``self``.

    Raises:
        ConfigurationError: the names do not fill ``forward``'s arguments one to one.
    """
    names = [*inputs, *batch_inputs]
    if all(name in arguments for name in inputs):
        positions: list[int | None] = [arguments.index(name) if name in arguments else None for name in names]
    elif all(index_of(name) is not None for name in inputs):
        positions = [index_of(name) for name in names]
    else:
        positions = list(range(len(names)))
    bound = [position for position in positions if position is not None]
    if len(bound) < len(names) or sorted(bound) != list(range(len(arguments))):
        raise ConfigurationError(
            f"the inputs ({', '.join(names)}) do not fill the arguments of forward({', '.join(arguments)}) one to one; "
            "name all of them after the arguments, or all <name>__<index>, or give them in the arguments' order"
        )
    return bound


def bind_outputs(outputs: Sequence[str]) -> list[int]:
    """Return each output's position in ``forward``'s answer: by index where all end in one, else in order."""
    positions = [index_of(name) for name in outputs]
    return [place if position is None or None in positions else position for place, position in enumerate(positions)]


def index_of(name: str) -> int | None:
    """Return the index of a name of the form ``<name>__<index>``, None for any other.

    What follows the first double underscore counts: ``a__b__0`` has no index.
    """
    _, _, index = name.partition("__")
    return int(index) if index.isascii() and index.isdecimal() else None
