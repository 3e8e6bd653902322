"""Which argument of ``forward`` an input is, and which of its outputs an output is.

Source of the rules: the C++ backend's documentation, "Model Configuration, inputs and outputs", and its source.
"""

from __future__ import annotations

from collections.abc import Sequence

from trident_server.backends.pytorch.errors import ConfigurationError


def bind_inputs(
    inputs: Sequence[str],
    batch_inputs: Sequence[str],
    arguments: Sequence[str],
    controls: Sequence[str] = (),
    states: Sequence[str] = (),
) -> list[int]:
    """Return the position among ``forward``'s arguments of each input, control, state and batch input, in that order.

    By name where all inputs are argument names; else by the index that all end in (``<name>__<index>``); else in the
    order of the configuration, batch inputs last. The inputs decide which; states and batch inputs follow, and controls
    always bind by index. A configuration whose names do not fit that is refused: the C++ backend would load it, leave
    an argument without a value or write past them, and fail every request.

    Args:
        inputs: configured inputs.
        batch_inputs: target names of the batch inputs, in configuration order.
        arguments: names of ``forward``'s arguments, without ``self``.
        controls: control inputs of sequences.
        states: inputs that get a sequence's states.

    Raises:
        ConfigurationError: the names do not fill ``forward``'s arguments one to one.
    """
    names = [*inputs, *controls, *states, *batch_inputs]
    indexed: list[int | None] = [index_of(name) for name in controls]
    if all(name in arguments for name in inputs):
        first, others = (_places(each, arguments) for each in (inputs, [*states, *batch_inputs]))
    elif all(index_of(name) is not None for name in inputs):
        first, others = ([index_of(name) for name in each] for each in (inputs, [*states, *batch_inputs]))
    else:
        # The C++ backend counts states from 0 again, where the inputs are: only without them can this fit.
        first = list(range(len(inputs)))
        others = [*range(len(states)), *(len(inputs) + place for place in range(len(batch_inputs)))]
    positions = [*first, *indexed, *others]
    bound = [position for position in positions if position is not None]
    if len(bound) < len(names) or sorted(bound) != list(range(len(arguments))):
        raise ConfigurationError(
            f"configuration expects {len(names)} inputs, model provides {len(arguments)}: the inputs "
            f"({', '.join(names)}) do not fill the arguments of forward({', '.join(arguments)}) one to one; name all "
            "of them after the arguments, or all <name>__<index>, or give them in the arguments' order"
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


def _places(names: Sequence[str], arguments: Sequence[str]) -> list[int | None]:
    return [arguments.index(name) if name in arguments else None for name in names]
