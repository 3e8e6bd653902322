"""``trident-train sweep``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markdown import Markdown
from rich.markup import escape
from trident_client.options import Group, with_options
from typer import Option

from trident_training.commands.console import console, done, refuse, reporting
from trident_training.commands.options import training
from trident_training.finetune.settings import Settings
from trident_training.tasks.base import Data, Task

if TYPE_CHECKING:
    from trident_training.finetune.run import Result
    from trident_training.finetune.sweep import Entry

HELP = "Fine-tune several models alike and keep the best."


@dataclass(frozen=True)
class SweepOptions:
    """Which models are compared, and by whom."""

    models: Annotated[str, Option(help="Paths, hub names or bundled ones, with commas between.")] = ""
    preset: Annotated[str, Option(help="Models by name.")] = ""
    storage: Annotated[
        str | None, Option(help="URL of a database over which several processes or hosts share the models.")
    ] = None
    study: Annotated[str, Option(help="The sweep's name in its storage.")] = "sweep"

    def named(self, presets: Mapping[str, Any]) -> list[str]:
        """Return the models that are asked for by name and by preset.

        Raises:
            BadParameter: there is no such preset.
            ValueError: no model is asked for.
        """
        if self.preset and self.preset not in presets:
            raise typer.BadParameter(f"there is no preset '{self.preset}'; {', '.join(presets) or 'none'} is accepted")
        named = [name.strip() for name in self.models.split(",") if name.strip()]
        named += presets.get(self.preset, ())
        if not named:
            raise ValueError(f"give models, or a preset: {', '.join(presets)}")
        return named


def command(task: Task) -> Callable[..., None]:
    """Return the command on a task."""

    @with_options(
        options=Group(SweepOptions, defaults={"study": f"sweep-{task.name}"}),
        candidates=Group(task.candidates or task.choices),
        data=Group(task.data),
        settings=training(task, f"runs/{task.name}-sweep", "model"),
    )
    def sweep(options: SweepOptions, candidates: Any, data: Data, settings: Settings) -> None:
        from trident_training.commands import steps
        from trident_training.finetune import processes
        from trident_training.finetune.folder import check_writable, in_turn
        from trident_training.finetune.run import BEST
        from trident_training.finetune.sweep import best_of
        from trident_training.finetune.sweep import sweep as compare

        expanded = task.expand(candidates)
        with reporting("sweep"):
            processes.refuse_together("sweep")
            models = options.named(task.presets)
            loaded = steps.load(task, data)
            check_writable(settings.output)

            def candidate(model: str, choices: Any) -> Callable[[Path], Result]:
                return lambda folder: steps.train(task, loaded, replace(settings, model=model, output=folder), choices)[
                    0
                ]

            named = {
                f"{model} {name}".strip(): (choices, candidate(model, choices))
                for model in models
                for name, choices in expanded.items()
            }
            runs = {name: each for name, (_, each) in named.items()}
            if options.storage:
                import optuna

                from trident_training.finetune.sharing import share
                from trident_training.finetune.tuning import open_study

                optuna.logging.set_verbosity(optuna.logging.WARNING)
                facts = {name: task.facts(choices) for name, (choices, _) in named.items()}
                begun_with = steps.begun_with(loaded, settings) | {"candidates": facts}
                study = open_study(options.study, settings.output, options.storage, begun_with)
                entries = share(study, runs, settings.output, _print_entry, _print_waiting)
            else:
                entries = compare(runs, settings.output, _print_entry)
            best = best_of(entries)
            # Of processes that share the folder, one after the other.
            with in_turn(settings.output):
                _report(entries, settings.output)
                if best is None:
                    raise typer.Exit(1)
                folder = settings.output / BEST
                here = best.result.best.is_dir()
                line = f"best: {escape(best.name)}, {f'in {folder}' if here else 'on the machine that ran it'}"
                if best.result.collapsed:
                    refuse(line, best.result.collapsed)
                    raise typer.Exit(1)
                done(line)
                if here:
                    steps.report(task, loaded, folder, settings.max_length, task.scoring_of(named[best.name][0]))

    sweep.__doc__ = f"Fine-tune {task.model} from several models, evaluate each after every epoch, and keep the best."
    if task.presets:
        sweep.__doc__ += f"\n\nPresets: {', '.join(task.presets)}; those that end in -bundled need no model hub."
    return sweep


def _print_entry(entry: Entry) -> None:
    from trident_training.commands.steps import tick
    from trident_training.finetune.sweep import Failed

    if isinstance(entry, Failed):
        refuse(escape(entry.name), entry.reason)
    else:
        tick(entry.name, entry.result)


def _print_waiting(names: list[str]) -> None:
    console.print(f"Others train {escape(', '.join(names))}; waiting for them.", soft_wrap=True)


def _report(entries: list[Entry], output: Path) -> None:
    from trident_training.finetune.sweep import markdown, write_reports

    write_reports(entries, output)
    console.print(Markdown(markdown(entries)))
