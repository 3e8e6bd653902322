"""A profile as a table for the terminal and as stacked bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trident_bench.drawing import drawing
from trident_bench.profiling.measure import Level
from trident_bench.profiling.stages import CLIENT, NETWORK, TRITON, Stage
from trident_bench.report import Table, figure

#: Hues of a stage's part; of a model's four stages the lightest is waiting, the strongest computing.
HUES = {CLIENT: "#4a6fa5", NETWORK: "#9aa3ad", TRITON: "#d8a539"}
MODEL_HUES = ("#3f8f6b", "#c4512f", "#7d5ba6", "#a0522d")
SHADES = {"queue": 0.30, "compute input": 0.50, "compute infer": 1.0, "compute output": 0.65}
FIXED_SHADES = {"deserialise": 0.6, "front end": 0.55}
#: Per cent of a bar from which a stage has room for its figure.
LABELLED = 5.5
MILLISECOND = 1_000.0
#: Parts, as the legend has them in columns.
LEGEND = (CLIENT, NETWORK, TRITON, "tokenizer", "model", "decoder")


def table(levels: Sequence[Level]) -> Table:
    """Return one ensemble's stages at each load: microseconds of a mean request, and their share."""
    headings = ["where", "what", *(head for level in levels for head in (f"{level.in_flight} in flight, µs", ""))]
    rows = []
    for place, stage in enumerate(levels[0].stages):
        spent = [level.stages[place].microseconds for level in levels]
        shares = [(f"{each:,.0f}", f"{each / level.mean:.0%}") for each, level in zip(spent, levels, strict=True)]
        rows.append([stage.part, stage.name, *(cell for pair in shares for cell in pair)])
    wholes: list[tuple[str, str, list[float]]] = [
        ("a request", "", [level.mean for level in levels]),
        ("p50", "", [level.p50 for level in levels]),
        ("p99", "", [level.p99 for level in levels]),
        ("requests/s", "", [level.throughput for level in levels]),
    ]
    batches = zip(*(level.steps for level in levels), strict=True)
    wholes += [(steps[0].model, "items an execution", [each.batch for each in steps]) for steps in batches]
    rows += [[part, name, *(cell for each in values for cell in (figure(each), ""))] for part, name, values in wholes]
    return Table(levels[0].ensemble, headings, rows, words=2)


def draw(levels: Sequence[Level], machine: str, file: Path) -> None:
    """Draw a bar for each ensemble, a panel for each number in flight.

    A bar is the whole of a request: a question takes ten times as long as a sentence, and both are to be read.

    Args:
        levels: of all ensembles; each at the same numbers in flight.
        machine: what they were measured on.
        file: a PNG.
    """
    from matplotlib.patches import Patch

    by_load: dict[int, list[Level]] = {}
    for level in levels:
        by_load.setdefault(level.in_flight, []).append(level)
    rows = len({level.ensemble for level in levels})
    with drawing(file, 8.0 * len(by_load), 3.0 + 0.8 * rows, f"Where a request's time goes\n{machine}") as canvas:
        panels = canvas.subplots(1, len(by_load), squeeze=False)[0]
        for axes, (in_flight, here) in zip(panels, by_load.items(), strict=True):
            for row, level in enumerate(here):
                _bar(axes, row, level)
            axes.set_yticks(range(rows), [level.ensemble for level in here], fontsize=11)
            axes.set_xlim(0, 130)
            axes.set_xticks(range(0, 101, 20), [f"{share} %" for share in range(0, 101, 20)])
            axes.set_xlabel("of a mean request; figures in milliseconds", fontsize=10, loc="left")
            axes.set_title(f"{in_flight} request{'s' * (in_flight != 1)} in flight")
            axes.invert_yaxis()
            axes.grid(visible=False)
            axes.spines[["left", "bottom"]].set_visible(False)
            axes.tick_params(axis="both", length=0)
        legend = {label: colour for level in levels for label, colour in _styles(level)}
        order = {word: place for place, word in enumerate(LEGEND)}
        entries = sorted(legend.items(), key=lambda each: order[each[0].partition(":")[0]])
        patches = [Patch(facecolor=colour, label=label) for label, colour in entries]
        canvas.legend(handles=patches, loc="outside lower left", ncols=5, fontsize=9)


def _bar(axes: Any, row: int, level: Level) -> None:
    whole = sum(max(0.0, each.microseconds) for each in level.stages)
    left = 0.0
    for stage, (_, colour) in zip(level.stages, _styles(level), strict=True):
        share = max(0.0, stage.microseconds) / whole * 100
        axes.barh(row, share, left=left, height=0.66, color=colour, edgecolor="white", linewidth=0.5)
        if share >= LABELLED:
            words = figure(stage.microseconds / MILLISECOND)
            axes.text(left + share / 2, row, words, ha="center", va="center", fontsize=9, color=_ink(colour))
        left += share
    words = f"{figure(level.mean / MILLISECOND)} ms\n{level.throughput:,.0f}/s"
    axes.text(102, row, words, ha="left", va="center", fontsize=10, color="#333333", linespacing=1.3)


def _styles(level: Level) -> list[tuple[str, str]]:
    """Return each stage's words in the legend and its colour; a task's models share the words of their places."""
    models = list(dict.fromkeys(step.model for step in level.steps))
    hues: Mapping[str, str] = HUES | dict(zip(models, MODEL_HUES, strict=False))
    words = {model: _role(model) for model in models}
    return [
        (f"{words.get(each.part, each.part)}: {each.name}", _shade(hues.get(each.part, MODEL_HUES[-1]), each))
        for each in level.stages
    ]


def _role(model: str) -> str:
    """Return what a model is to its ensemble: those of all ensembles share a line of the legend."""
    if model.endswith("_tokenizer"):
        return "tokenizer"
    return "decoder" if model.endswith("_decoder") else "model"


def _shade(hue: str, stage: Stage) -> str:
    from matplotlib.colors import to_hex, to_rgb

    strength = SHADES.get(stage.name, FIXED_SHADES.get(stage.name, 1.0))
    red, green, blue = (1 - strength * (1 - each) for each in to_rgb(hue))
    return str(to_hex((red, green, blue)))


def _ink(colour: str) -> str:
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(colour)
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.6 else "#222222"
