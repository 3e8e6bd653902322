"""Command-line options made of dataclasses: a field's type, its ``typer.Option`` and its default say all of one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from typer import BadParameter

from trident_training.finetune.settings import Settings
from trident_training.tasks.base import Task


@dataclass(frozen=True)
class Group:
    """Options that reach a command as one argument.

    Attributes:
        kind: the dataclass that they are the fields of.
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


def with_options(**groups: Group) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of dataclasses, each of which reaches it as the argument that it is named here."""

    def wrap(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**values: Any) -> None:
            command(**{name: group.take(values) for name, group in groups.items()})

        parameters = [parameter for group in groups.values() for parameter in group.parameters()]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return run

    return wrap


def training(task: Task, output: str, *without: str) -> Group:
    """Return the settings of a fine-tuning on a task.

    Args:
        task: what is learned.
        output: the folder that is written to by default.
        without: fields that are not offered.
    """
    hidden = without if task.label_smoothing else ("label_smoothing", *without)
    return Group(Settings, hidden, {"output": Path(output), "max_length": task.max_length})


def subset(kind: type[Any], names: Collection[str]) -> Group:
    """Return the options of a dataclass that have these names."""
    return Group(kind, [each.name for each in fields(kind) if each.name not in names])


def _default(option: Field[Any]) -> Any:
    if option.default is not MISSING:
        return option.default
    return inspect.Parameter.empty if option.default_factory is MISSING else option.default_factory()
