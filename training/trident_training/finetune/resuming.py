"""Where a run goes on: at the newest checkpoint that can be read; those that cannot are put aside."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError, safe_open

from trident_training.finetune.callbacks import AVERAGE

STATE = "trainer_state.json"
#: What the trainer writes in each checkpoint, beside weights and the state of random numbers.
WRITTEN = ("optimizer.pt", "scheduler.pt")
CHECKPOINT, UNREADABLE = "checkpoint-", "unreadable-"


def last_checkpoint(output: Path) -> str | None:
    """Return the newest checkpoint that was written to its end, which is where the trainer's state is written."""
    whole = _whole(output)
    return str(whole[-1]) if whole else None


def put_aside_the_unreadable(output: Path, say: Callable[[str], None]) -> None:
    """Rename the newest checkpoints that cannot be read, so that a run goes on at the one before them.

    Args:
        output: the run's folder.
        say: told of each that is left, why, and where the run goes on.
    """
    whole = _whole(output)
    left = []
    while whole and (reason := _unreadable(whole[-1])):
        left.append((whole.pop(), reason))
    for folder, reason in left:
        aside = folder.with_name(folder.name.replace(CHECKPOINT, UNREADABLE))
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
        goes_on = f"at {whole[-1].name}" if whole else "from the beginning"
        say(f"{folder} cannot be read: {reason}. It is {aside.name} now, and the run goes on {goes_on}.")


def _whole(output: Path) -> list[Path]:
    """Return the folders of checkpoints with a trainer's state, the newest last."""
    found = [file.parent for file in output.glob(f"{CHECKPOINT}*/{STATE}")]
    return sorted(found, key=lambda folder: int(folder.name.rpartition("-")[2]))


def _unreadable(folder: Path) -> str | None:
    """Return what of a checkpoint cannot be read, and why; None where it is whole."""
    average = folder.parent / AVERAGE.format(folder.name.rpartition("-")[2])
    weights = [*folder.glob("*.safetensors"), *([average] if average.is_file() else [])]
    if not any(file.parent == folder for file in weights):
        return "it has no weights"
    files = [folder / STATE, *weights, *(folder / name for name in WRITTEN), *folder.glob("rng_state*.pth")]
    for file in files:
        try:
            if file.suffix == ".json":
                # Also what is no text, such as the zeros of a file that was not written out.
                if not isinstance(json.loads(file.read_bytes()), dict):
                    return f"{file.name} holds no object"
            elif file.suffix == ".safetensors":
                with safe_open(file, "pt"):
                    pass
            else:
                # torch's files are archives, whose contents stand at their end.
                zipfile.ZipFile(file).close()
        except (OSError, ValueError, SafetensorError, zipfile.BadZipFile) as error:
            return f"{file.name}: {getattr(error, 'strerror', None) or error}"
    return None
