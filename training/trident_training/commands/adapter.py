"""``trident-train adapter``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from trident_client.options import Group, with_options
from typer import Option

from trident_training.commands.console import done, reporting
from trident_training.tasks import find_tasks


@dataclass(frozen=True, kw_only=True)
class AdapterOptions:
    """What of a checkpoint is written, and where to."""

    checkpoint: Annotated[Path, Option(help="Folder of a fine-tuned model, of any task.")]
    output: Annotated[Path, Option(help="The adapter's folder.")]
    base: Annotated[str, Option(help="What it was fine-tuned from: path, hub name, or small, base, multilingual.")] = (
        "bundled"
    )


@with_options(options=Group(AdapterOptions))
def adapter(options: AdapterOptions) -> None:
    """Write what a fine-tuning changed in its base, in float16: small enough to ship."""
    with reporting("adapter"):
        write(options.checkpoint, options.base, options.output)


def write(checkpoint: Path, base: str, output: Path) -> None:
    """Write what a fine-tuned checkpoint changed in its base, with what it scored, and say how much it is."""
    from trident_training.checkpoints.adapters import WEIGHTS, save_adapter
    from trident_training.finetune.run import RESULT, TEST_METRICS
    from trident_training.finetune.settings import WRITTEN_BY, read_json

    files = [checkpoint / file for file in (RESULT, TEST_METRICS)]
    metrics = {file.name: read_json(file, WRITTEN_BY) for file in files if file.is_file()}
    companions = [name for task in find_tasks().values() for name in task.companions]
    save_adapter(checkpoint, base, output, metrics, companions)
    done(f"{output / WEIGHTS}: {(output / WEIGHTS).stat().st_size / 2**20:.1f} MiB")
