"""The report of a profile: a table of stages for each ensemble, and stacked bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from trident_bench.drawing import picture, stacked_bars
from trident_bench.profiling.measure import Level
from trident_bench.profiling.stages import CLIENT, TRITON, Stage
from trident_bench.report import Section, Table, figure

PICTURE = "profile.png"
#: Hues of a stage's part; of a model's four stages the lightest is waiting, the strongest computing.
HUES = {CLIENT: "#4a6fa5", TRITON: "#d8a539"}
MODEL_HUES = {"tokenizer": "#3f8f6b", "model": "#c4512f", "decoder": "#7d5ba6"}
STRENGTHS = {"queue": 0.30, "compute input": 0.50, "compute output": 0.65}
MILLISECOND = 1_000.0


def sections(levels: Sequence[Level], caption: str, folder: Path) -> list[Section]:
    """Return the report's sections, and draw its picture into the folder."""
    by_ensemble: dict[str, list[Level]] = {}
    for level in levels:
        by_ensemble.setdefault(level.ensemble, []).append(level)
    shared = [name for name, each in by_ensemble.items() if not all(level.alone for level in each)]
    remarks = [f"Others used the models of {name} meanwhile: its stages are theirs, too." for name in shared]
    draw(levels, caption, folder / PICTURE)
    return [Section("Stages", remarks, [table(each) for each in by_ensemble.values()], [PICTURE])]


def table(levels: Sequence[Level]) -> Table:
    """Return one ensemble's stages at each load: microseconds of a mean request, and their share."""
    headings = ["where", "what", *(head for level in levels for head in (f"{level.in_flight} in flight, µs", ""))]
    rows = []
    for stages in zip(*(level.stages for level in levels), strict=True):
        cells = [
            cell
            for stage, level in zip(stages, levels, strict=True)
            for cell in (f"{stage.microseconds:,.0f}", f"{stage.microseconds / level.mean:.0%}")
        ]
        rows.append([stages[0].part, stages[0].name, *cells])
    wholes: list[tuple[str, str, list[float]]] = [
        ("a request", "", [level.mean for level in levels]),
        ("p50", "", [level.p50 for level in levels]),
        ("p99", "", [level.p99 for level in levels]),
        ("requests/s", "", [level.throughput for level in levels]),
        *((name, "items an execution", [level.batches[name] for level in levels]) for name in levels[0].batches),
    ]
    rows += [[part, name, *(cell for each in values for cell in (figure(each), ""))] for part, name, values in wholes]
    return Table(levels[0].ensemble, headings, rows, text_columns=2)


def draw(levels: Sequence[Level], caption: str, file: Path) -> None:
    """Draw a bar for each ensemble, a panel for each number in flight.

    A bar is the whole of a request: a question takes ten times as long as a sentence, and both are to be read.

    Args:
        levels: of all ensembles; each at the same numbers in flight.
        caption: below the title.
        file: a PNG.
    """
    from matplotlib.patches import Patch

    by_load: dict[int, list[Level]] = {}
    for level in levels:
        by_load.setdefault(level.in_flight, []).append(level)
    rows = len({level.ensemble for level in levels})
    with picture(file, 8.0 * len(by_load), 3.0 + 0.8 * rows, f"Where a request's time goes\n{caption}") as canvas:
        panels = canvas.subplots(1, len(by_load), squeeze=False)[0]
        for axes, (in_flight, here) in zip(panels, by_load.items(), strict=True):
            title = f"{in_flight} request{'s' * (in_flight != 1)} in flight: shares, and milliseconds"
            stacked_bars(axes, title, [_bar(level) for level in here])
        colours = {label: colour for level in levels for stage in level.stages for label, colour in [_style(stage)]}
        patches = [Patch(facecolor=colour, label=label) for label, colour in sorted(colours.items())]
        canvas.legend(handles=patches, loc="outside lower left", ncols=5, fontsize=9)


def _bar(level: Level) -> tuple[str, list[tuple[float, str, str]], str]:
    parts = [
        (max(0.0, each.microseconds), _style(each)[1], figure(each.microseconds / MILLISECOND)) for each in level.stages
    ]
    return level.ensemble, parts, f"{figure(level.mean / MILLISECOND)} ms\n{level.throughput:,.0f}/s"


def _style(stage: Stage) -> tuple[str, str]:
    """Return a stage's label in the legend and its colour; the models of all ensembles share those of their roles."""
    from matplotlib.colors import to_hex, to_rgb

    role = stage.part.rpartition("_")[2]
    part = stage.part if stage.part in HUES else role if role in MODEL_HUES else "model"
    hues: Mapping[str, str] = HUES | MODEL_HUES
    strength = STRENGTHS.get(stage.name, 1.0)
    colour = 1 - strength * (1 - np.array(to_rgb(hues[part])))
    return f"{part}: {stage.name}", str(to_hex((colour[0], colour[1], colour[2])))
