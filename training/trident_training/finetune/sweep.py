"""Fine-tunes several models, or one under several heads, alike, and says which, after which epoch, is best."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trident_training.data.problems import one_line
from trident_training.finetune.epochs import LOSS, epoch_name, rank
from trident_training.finetune.folder import is_for_want_of_room
from trident_training.finetune.run import BEST, Result


@dataclass(frozen=True)
class Trained:
    """A candidate of a sweep, a model or a model with a head, that has a result."""

    name: str
    result: Result


@dataclass(frozen=True)
class Failed:
    """A candidate that has none, and why."""

    name: str
    reason: str


Entry = Trained | Failed


def sweep(
    candidates: Mapping[str, Callable[[Path], Result]],
    output: Path,
    on_entry: Callable[[Entry], None],
) -> list[Entry]:
    """Fine-tune every candidate, each in a folder of its own; one that fails does not stop the others.

    Args:
        candidates: by name, what runs a fine-tuning in a folder, or goes on with it, or returns its result.
        output: the folder of their folders.
        on_entry: called with every candidate's entry as soon as it is there.

    Raises:
        ValueError: two candidates would share a folder.
    """
    folders = folders_of(candidates, output)
    entries = []
    for name, train in candidates.items():
        entries.append(attempt(name, train, folders[name]))
        on_entry(entries[-1])
    return entries


def folders_of(names: Iterable[str], output: Path) -> dict[str, Path]:
    """Return each candidate's folder.

    Raises:
        ValueError: two would share one.
    """
    folders = {name: output / _slug(name) for name in names}
    if len(set(folders.values())) < len(folders):
        raise ValueError(f"two of {', '.join(folders)} have the same name; give each once")
    return folders


def attempt(name: str, train: Callable[[Path], Result], folder: Path) -> Entry:
    """Fine-tune a candidate, or say why that failed; a full disk, on which all fail, is raised."""
    try:
        return Trained(name, train(folder))
    # Whatever one trips over, the others are still worth having.
    except Exception as error:
        if is_for_want_of_room(error):
            raise
        return Failed(name, one_line(error))


def best_of(entries: Sequence[Entry]) -> Trained | None:
    """Return the entry with the best epoch by the primary metric, ties by loss; None when all failed."""
    done = _trained(entries)
    return max(done, key=lambda entry: rank(entry.result.best_epoch, entry.result.primary), default=None)


def write_reports(entries: Sequence[Entry], output: Path) -> None:
    """Write ``sweep.md``, ``sweep.csv`` and ``sweep.png``, and copy the best model to ``best/`` if it was made here."""
    (output / "sweep.md").write_text(markdown(entries))
    _write_csv(entries, output / "sweep.csv")
    _plot(entries, output / "sweep.png")
    best = best_of(entries)
    if best is not None and best.result.best.is_dir():
        shutil.rmtree(output / BEST, ignore_errors=True)
        shutil.copytree(best.result.best, output / BEST)


def markdown(entries: Sequence[Entry]) -> str:
    """Return the candidate x epoch table of the primary metric, the best epoch of each in bold."""
    done = _trained(entries)
    primary = done[0].result.primary if done else ""
    longest = max(done, key=lambda entry: len(entry.result.epochs), default=None)
    columns = [epoch_name(epoch) for epoch in longest.result.epochs] if longest else []
    winner = best_of(entries)
    lines = [
        f"| {primary or 'model'} | {' | '.join(columns)} | loss at best | |",
        f"|---|{'---|' * len(columns)}---|---|",
    ]
    for entry in entries:
        if isinstance(entry, Failed):
            lines.append(f"| {entry.name} |{' |' * len(columns)} | failed: {entry.reason} |")
            continue
        best = entry.result.best_epoch
        found = {
            epoch_name(epoch): f"**{epoch[primary]:.3f}**" if epoch is best else f"{epoch[primary]:.3f}"
            for epoch in entry.result.epochs
        }
        cells = [found.get(column, "") for column in columns]
        remark = "collapsed" if entry.result.collapsed else "best" if entry is winner else ""
        lines.append(f"| {entry.name} | {' | '.join(cells)} | {best[LOSS]:.3f} | {remark} |")
    return "\n".join(lines) + "\n"


def _write_csv(entries: Sequence[Entry], file: Path) -> None:
    rows = [{"model": entry.name, **epoch} for entry in _trained(entries) for epoch in entry.result.epochs]
    columns = list(dict.fromkeys(["model", "epoch", *(name for row in rows for name in row)]))
    with file.open("w", newline="") as target:
        writer = csv.DictWriter(target, columns)
        writer.writeheader()
        writer.writerows(rows)


def _plot(entries: Sequence[Entry], file: Path) -> None:
    """Draw metric and loss by epoch, and each candidate's best epoch as a bar whose label is the curves' legend."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    done = _trained(entries)
    primary = done[0].result.primary if done else LOSS
    colours = [colormaps["turbo"]((place + 0.5) / len(done)) for place in range(len(done))]
    figure = Figure(figsize=(14, max(4, 1 + 0.25 * len(done))), layout="constrained")
    metrics, losses, bars = figure.subplots(1, 3)
    for axes, name in ((metrics, primary), (losses, LOSS)):
        for entry, colour in zip(done, colours, strict=True):
            each = [epoch for epoch in entry.result.epochs if not epoch.get("averaged")]
            axes.plot([epoch["epoch"] for epoch in each], [epoch[name] for epoch in each], "o-", color=colour)
            best = entry.result.best_epoch
            axes.plot(best["epoch"], best[name], "o", markersize=12, fillstyle="none", color=colour)
        axes.set(xlabel="epoch", ylabel=f"validation {name.replace('_', ' ')}")
        axes.xaxis.get_major_locator().set_params(integer=True)
    if done:
        losses.set_yscale("log")
    names = [Path(entry.name).name for entry in done]
    drawn = bars.barh(names, [entry.result.best_epoch[primary] for entry in done], color=colours)
    bars.bar_label(drawn, fmt="%.3f", padding=3)
    bars.margins(x=0.15)
    bars.invert_yaxis()
    bars.set(xlabel=f"validation {primary.replace('_', ' ')}, best epoch")
    for axes in (metrics, losses, bars):
        axes.grid(alpha=0.3)
    figure.savefig(file, dpi=120)


def _trained(entries: Sequence[Entry]) -> list[Trained]:
    return [entry for entry in entries if isinstance(entry, Trained)]


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-._" else "-" for letter in Path(name).name) or "model"
