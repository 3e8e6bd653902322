"""The comparison as pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trident_bench.compare.cost import CostModel, Point
from trident_bench.compare.goals import Outcome
from trident_bench.compare.report import Comparison, machine
from trident_bench.compare.rows import Group, Row
from trident_bench.compare.statistics import Sample, Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COMPARISON_FILE, COST_FILE = "comparison.png", "cost.png"
OURS, OTHERS, CEILING, GOOD, BAD, INK, FAINT = (
    "#0f766e",
    "#94a3b8",
    "#e2e8f0",
    "#0f766e",
    "#b91c1c",
    "#1e293b",
    "#64748b",
)
STYLE: dict[Any, Any] = {
    "font.size": 9.5,
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "axes.labelcolor": FAINT,
    "axes.edgecolor": "#cbd5e1",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": FAINT,
    "ytick.color": INK,
    "figure.facecolor": "white",
}


def draw(comparison: Comparison, folder: Path) -> list[Path]:
    """Draw what there is to be seen; returns the PNG files."""
    import matplotlib as mpl

    folder.mkdir(parents=True, exist_ok=True)
    files = []
    with mpl.rc_context(STYLE):
        if any(comparison.results.measured(row.name) for row in comparison.results.rows):
            files.append(_comparison(comparison, folder / COMPARISON_FILE))
        if comparison.points:
            files.append(_cost(comparison.points, comparison.cost, folder / COST_FILE))
    return files


def _comparison(comparison: Comparison, file: Path) -> Path:
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(14, 11), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12))
    axes = figure.subplots(3, 2, height_ratios=(5, 5, 4))
    facts = machine()
    figure.suptitle(
        f"Trident beside its peers: the same weights and sentences, {facts['processor']}, {facts['cores']} cores",
        x=0.01,
        ha="left",
        fontsize=14,
        fontweight="bold",
    )
    rate = lambda sample: sample.rate  # noqa: E731
    rows = {group: [row for row in comparison.results.rows if row.group is group] for group in Group}
    _bars(axes[0, 0], comparison, rows[Group.BARE], rate, "No server: sentences a second", "{:,.0f}")
    _bars(
        axes[0, 1], comparison, rows[Group.SERVED], rate, "Served, 64 requests under way: sentences a second", "{:,.0f}"
    )
    _bars(
        axes[1, 0],
        comparison,
        rows[Group.ALONE],
        lambda sample: 1000 * sample.quantile(0.5),
        "One request at a time: median milliseconds",
        "{:.1f}",
        fewest_first=True,
    )
    _memory(axes[1, 1], comparison, rows[Group.SERVED])
    _bars(
        axes[2, 0],
        comparison,
        [*rows[Group.COLA], *rows[Group.QA]],
        rate,
        "Acceptability (sentences a second) and question answering (windows of 384 tokens a second)",
        "{:,.0f}",
        prefix=lambda row: "CoLA: " if row.group is Group.COLA else "QA: ",
    )
    _goals(axes[2, 1], comparison.outcomes)
    figure.savefig(file, dpi=130)
    return file


def _bars(
    axes: Axes,
    comparison: Comparison,
    rows: Sequence[Row],
    value: Callable[[Sample], float],
    title: str,
    label: str,
    *,
    fewest_first: bool = False,
    prefix: Callable[[Row], str] = lambda row: "",
) -> None:
    """Draw the medians of rows, best on top, with a whisker from the lowest to the highest round."""
    axes.set_title(title)
    found = []
    for row in rows:
        samples = comparison.results.measured(row.name)
        if samples:
            found.append((row, Spread.of([value(each) for each in samples])))
    found.sort(key=lambda pair: pair[1].median, reverse=not fewest_first)
    names = [f"{prefix(row)}{row.title}" for row, _ in found]
    missing = [f"{prefix(row)}{row.title}" for row in rows if row.name not in {each.name for each, _ in found}]
    places = np.arange(len(found))
    colours = [_colour(row) for row, _ in found]
    medians = [spread.median for _, spread in found]
    whiskers = np.array([[s.median - s.low, s.high - s.median] for _, s in found]).T if found else None
    axes.barh(places, medians, color=colours, height=0.68)
    if found:
        axes.errorbar(medians, places, xerr=whiskers, fmt="none", ecolor=INK, elinewidth=1, capsize=2.5)
    most = max((spread.high for _, spread in found), default=1.0)
    for place, (_, spread) in zip(places, found, strict=True):
        axes.text(spread.high + 0.015 * most, place, label.format(spread.median), va="center", fontweight="bold")
    for place, _ in enumerate(missing, start=len(found)):
        axes.text(0.01 * most, place, "not measured", va="center", color=FAINT, style="italic")
    _finish(axes, [*names, *missing], most)


def _colour(row: Row) -> str:
    if row.name.startswith("products"):
        return CEILING
    return OURS if row.ours else OTHERS


def _memory(axes: Axes, comparison: Comparison, rows: Sequence[Row]) -> None:
    axes.set_title("Memory of each server while it answers, MB")
    held = [(row, comparison.results.memory[row.name] / 1e6) for row in rows if row.name in comparison.results.memory]
    held.sort(key=lambda pair: pair[1])
    axes.barh(range(len(held)), [size for _, size in held], color=[_colour(row) for row, _ in held], height=0.68)
    most = max((size for _, size in held), default=1.0)
    for place, (_, size) in enumerate(held):
        axes.text(size + 0.015 * most, place, f"{size:,.0f}", va="center", fontweight="bold")
    _finish(axes, [row.title for row, _ in held], most)


def _finish(axes: Axes, names: Sequence[str], most: float) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlim(0, 1.18 * most)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="x", color="#e2e8f0", linewidth=0.8)
    axes.set_axisbelow(True)


def _goals(axes: Axes, outcomes: Sequence[Outcome]) -> None:
    """Draw how far each goal is exceeded: 1 is what is asked for, and right of it is better."""
    axes.set_title("What it must show: 1 is what is asked for, more is better")
    measured = [each for each in outcomes if each.found is not None]
    for place, each in enumerate(measured):
        spread = each.found
        if spread is None:
            continue
        ends = [_margin(each, value) for value in (spread.low, spread.median, spread.high)]
        colour = GOOD if each.met else BAD
        axes.plot([ends[0], ends[2]], [place, place], color=colour, linewidth=2, solid_capstyle="round")
        axes.plot(ends[1], place, "o", color=colour, markersize=8)
        sign = "≥" if each.at_least else "≤"
        axes.annotate(
            f"{spread.median:.2f} ({sign} {each.bound:g})",
            (max(ends), place),
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            color=colour,
            fontweight="bold",
        )
    axes.axvline(1, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    margins = [_margin(each, each.found.high if each.at_least else each.found.low) for each in measured if each.found]
    _finish(axes, [each.title for each in measured], max([1.0, *margins]) * 1.15)
    axes.tick_params(axis="y", labelsize=8.5)


def _margin(outcome: Outcome, value: float) -> float:
    if outcome.at_least:
        return value / outcome.bound
    return outcome.bound / value if value > 0 else float("inf")


def _cost(points: Sequence[Point], cost: CostModel | None, file: Path) -> Path:
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(14, 5.6), layout="constrained")
    figure.suptitle("What a batch costs the bare engine", x=0.01, ha="left", fontsize=14, fontweight="bold")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    lengths = sorted({each.length for each in points})
    colours = mpl.colormaps["viridis"](np.linspace(0.05, 0.85, len(lengths)))
    for colour, length in zip(colours, lengths, strict=True):
        line = sorted((each for each in points if each.length == length), key=lambda each: each.batch)
        left.plot([each.batch for each in line], [each.rate for each in line], "o-", color=colour, markersize=4.5)
        left.annotate(
            f"{length} tokens", (line[-1].batch, line[-1].rate), xytext=(8, 0), textcoords="offset points",
            color=colour, va="center", fontweight="bold",
        )  # fmt: skip
        right.plot(
            [each.batch * length for each in line], [1e3 * each.seconds for each in line], "o", color=colour, ms=5
        )
        if cost is not None:
            batches = np.geomspace(line[0].batch, line[-1].batch, 50)
            modelled = np.array([cost.seconds(batch, length) for batch in batches])
            left.plot(batches, batches / modelled, "--", color=colour, linewidth=1, alpha=0.8)
            right.plot(batches * length, 1e3 * modelled, "--", color=colour, linewidth=1, alpha=0.8)
    left.set_title("Sequences a second by batch size: measured (dots) and modelled (dashes)")
    left.set(xscale="log", yscale="log", xlabel="sequences in the batch")
    left.set_xlim(right=2.6 * max(each.batch for each in points))
    right.set(xscale="log", yscale="log", xlabel="tokens in the batch", ylabel="milliseconds a batch")
    right.set_title("Milliseconds by tokens")
    for axes in (left, right):
        axes.grid(color="#e2e8f0", linewidth=0.8)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    if cost is not None:
        text = (
            f"{1e3 * cost.call:.2f} ms a call\n+ {1e6 * cost.token:.2f} µs a token\n"
            f"+ {1e9 * cost.pair:.2f} ns a token and token of its sequence\n"
            f"off by {cost.error:.0%} at the median, {cost.worst:.0%} at most"
        )
        right.text(0.04, 0.96, text, transform=right.transAxes, va="top", linespacing=1.5)
    figure.savefig(file, dpi=130)
    return file
