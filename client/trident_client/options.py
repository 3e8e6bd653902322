"""Command-line options made of dataclasses: a field's type, its ``typer.Option`` and its default say all of one.

All of the project's commands have theirs so; it needs Typer.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, Protocol, get_type_hints

from typer import BadParameter


class OptionGroup(Protocol):
    """Options that reach a command as one argument."""

    def parameters(self) -> list[inspect.Parameter]:
        """Return the options as Typer reads them from a function's signature."""

    def take(self, values: dict[str, Any]) -> Any:
        """Take the options' values out of a command's, and return them as one."""


@dataclass(frozen=True)
class Group:
    """The fields of a dataclass as options.

    Attributes:
        kind: the dataclass.
        without: fields that the command does not offer, and that keep their defaults.
        defaults: other defaults than the fields' own.
    """

    kind: type[Any]
    without: Collection[str] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def offered(self) -> list[Field[Any]]:
        """The fields that are options."""
        return [each for each in fields(self.kind) if each.name not in self.without]

    def parameters(self) -> list[inspect.Parameter]:
        """Return the options as Typer reads them from a function's signature."""
        hints = get_type_hints(self.kind, include_extras=True)
        return [
            inspect.Parameter(
                each.name,
                inspect.Parameter.KEYWORD_ONLY,
                annotation=hints[each.name],
                default=self.defaults.get(each.name, _default(each)),
            )
            for each in self.offered
        ]

    def take(self, values: dict[str, Any]) -> Any:
        """Take the options' values out of a command's, and return them as one.

        Raises:
            BadParameter: the dataclass refuses them.
        """
        try:
            return self.kind(**{each.name: values.pop(each.name) for each in self.offered})
        except ValueError as error:
            raise BadParameter(str(error)) from error


def with_options(**groups: OptionGroup) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command, behind its own parameters, the options of groups; each reaches it as it is named here."""

    def wrap(command: Callable[..., None]) -> Callable[..., None]:
        own = [name for name in inspect.signature(command).parameters if name not in groups]

        @functools.wraps(command)
        def run(**values: Any) -> None:
            taken = {name: group.take(values) for name, group in groups.items()}
            command(**values, **taken)

        parameters = [inspect.signature(command, eval_str=True).parameters[name] for name in own]
        parameters += [parameter for group in groups.values() for parameter in group.parameters()]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return run

    return wrap


def _default(option: Field[Any]) -> Any:
    if option.default is not MISSING:
        return option.default
    return inspect.Parameter.empty if option.default_factory is MISSING else option.default_factory()
