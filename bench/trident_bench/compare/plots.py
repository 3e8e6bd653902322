"""The comparison as pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trident_bench.compare.cost import CostModel, Point
from trident_bench.compare.goals import Outcome
from trident_bench.compare.report import Comparison, machine, number
from trident_bench.compare.rows import Group, Row
from trident_bench.compare.statistics import Sample, Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COMPARISON_FILE, COST_FILE = "comparison.png", "cost.png"
OURS, OTHERS, CEILING, GOOD, BAD, INK, FAINT = (
    "#0f766e",
    "#94a3b8",
    "#b6c2d1",
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
    "ytick.color": FAINT,
    "figure.facecolor": "white",
}

BAR = 0.42
#: Lines that a panel has room for at least, so that two do not fill it.
FEWEST = 4
#: Nothing is drawn further beyond its goal than this.
MOST_MARGIN = 3.0
#: What a server is called where its protocol does not matter.
SERVERS = {"ensemble": "our ensemble", "facade": "our facade, and Triton with all three tasks"}


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

    figure = Figure(figsize=(14, 12.5), layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.12, rect=(0, 0, 1, 0.935)))
    places: list[Any] = [
        ["bare", "bare", "served", "served"],
        ["alone", "alone", "memory", "memory"],
        ["cola", "qa", "goals", "goals"],
    ]
    axes = figure.subplot_mosaic(places, height_ratios=(5, 4.2, 4.4))
    facts = machine()
    x = 0.012
    figure.text(x, 0.972, "Trident beside its peers", fontsize=17, fontweight="bold")
    words = f"the same weights and sentences on {facts['processor']}, {facts['cores']} cores   |   "
    legend = (("Trident", OURS), ("others", OTHERS), ("the ceiling", CEILING))
    figure.text(
        x,
        0.95,
        f"{words}bars: median of {_rounds(comparison)} rounds, whiskers: the lowest and the highest",
        color=FAINT,
    )
    for place, (name, colour) in enumerate(reversed(legend)):
        figure.text(0.975 - 0.095 * place, 0.972, f"■ {name}", color=colour, fontweight="bold", ha="right", fontsize=11)
    rate = lambda sample: sample.rate  # noqa: E731
    rows = {group: [row for row in comparison.results.rows if row.group is group] for group in Group}
    for name, group, title in (
        ("bare", Group.BARE, "Without a server: sentences a second"),
        ("served", Group.SERVED, "Served, 64 requests under way: sentences a second"),
        ("cola", Group.COLA, "Acceptability: sentences a second"),
        ("qa", Group.QA, "Reading: windows of 384 a second"),
    ):
        _bars(axes[name], comparison, rows[group], rate, title)
    milliseconds = lambda sample: 1000 * sample.quantile(0.5)  # noqa: E731
    title = "One request at a time: median milliseconds"
    _bars(axes["alone"], comparison, rows[Group.ALONE], milliseconds, title, fewest_first=True)
    _memory(axes["memory"], comparison, rows[Group.SERVED])
    _goals(axes["goals"], comparison.outcomes)
    figure.savefig(file, dpi=130)
    return file


def _rounds(comparison: Comparison) -> int:
    return max((len(samples) for samples in comparison.results.samples.values()), default=0)


def _bars(
    axes: Axes,
    comparison: Comparison,
    rows: Sequence[Row],
    value: Callable[[Sample], float],
    title: str,
    *,
    fewest_first: bool = False,
) -> None:
    """Draw the medians of rows, best on top, with a whisker from the lowest to the highest round."""
    axes.set_title(title)
    samples = {row.name: comparison.results.measured(row.name) for row in rows}
    found = [(row, Spread.of([value(each) for each in samples[row.name]])) for row in rows if samples[row.name]]
    found.sort(key=lambda pair: pair[1].median, reverse=not fewest_first)
    missing = [row for row in rows if not samples[row.name]]
    most = max((spread.high for _, spread in found), default=1.0)
    for place, (row, spread) in enumerate(found):
        axes.barh(place, spread.median, color=_colour(row), height=BAR)
        whisker = [[spread.median - spread.low], [spread.high - spread.median]]
        axes.errorbar(spread.median, place, xerr=whisker, fmt="none", ecolor=INK, elinewidth=1, capsize=2.5)
        axes.text(spread.high + 0.012 * most, place, number(spread.median), va="center", fontweight="bold")
    for place, _ in enumerate(missing, start=len(found)):
        axes.text(0, place, "not measured", va="center", color=FAINT, style="italic")
    _finish(axes, [row.title for row in [*(row for row, _ in found), *missing]], 1.14 * most)


def _colour(row: Row) -> str:
    if row.name.startswith("products"):
        return CEILING
    return OURS if row.ours else OTHERS


def _memory(axes: Axes, comparison: Comparison, rows: Sequence[Row]) -> None:
    axes.set_title("Memory while it serves: MB")
    # One server may be asked over several protocols.
    held: dict[str, tuple[Row, float]] = {}
    for row in rows:
        if row.name in comparison.results.memory:
            name, size = row.contenders[-1].name, comparison.results.memory[row.name] / 1e6
            held[name] = (row, max(size, held[name][1] if name in held else 0.0))
    servers = sorted(held.values(), key=lambda pair: pair[1])
    most = max((size for _, size in servers), default=1.0)
    for place, (row, size) in enumerate(servers):
        axes.barh(place, size, color=_colour(row), height=BAR)
        axes.text(size + 0.012 * most, place, f"{size:,.0f}", va="center", fontweight="bold")
    names = [SERVERS.get(row.contenders[-1].name, row.title) for row, _ in servers]
    _finish(axes, names, 1.14 * most)


def _finish(axes: Axes, names: Sequence[str], most: float) -> None:
    """Write each line's name above it, where it takes no width from the bars."""
    for place, name in enumerate(names):
        axes.text(0, place - 0.5 * BAR - 0.06, name, va="bottom", fontsize=9, color=INK)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlim(0, most)
    axes.set_ylim(max(len(names), FEWEST) - 0.6, -0.85)
    axes.grid(axis="x", color="#e2e8f0", linewidth=0.8)
    axes.set_axisbelow(True)


def _goals(axes: Axes, outcomes: Sequence[Outcome]) -> None:
    """Draw how far each goal is exceeded: 1 is what is asked for, and right of it is better."""
    axes.set_title("What it must show: right of the line is better than asked for")
    measured = [(each, each.found) for each in outcomes if each.found is not None]
    for place, (each, spread) in enumerate(measured):
        low, median, high = sorted(_margin(each, value) for value in (spread.low, spread.median, spread.high))
        colour = GOOD if each.met else BAD
        axes.plot([low, high], [place, place], color=colour, linewidth=2, solid_capstyle="round")
        axes.plot(median, place, "o", color=colour, markersize=8)
        words = f"{spread.median:.2f}, {'at least' if each.at_least else 'at most'} {each.bound:g}"
        axes.annotate(
            words, (high, place), xytext=(9, 0), textcoords="offset points",
            va="center", color=colour, fontweight="bold",
        )  # fmt: skip
    margins = [_margin(each, spread.median) for each, spread in measured]
    _finish(axes, [each.title for each, _ in measured], 1.4 * max([1.0, *margins]))
    axes.axvline(1, color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=0)


def _margin(outcome: Outcome, value: float) -> float:
    """Return how far a value exceeds its goal: 1 meets it exactly, more is better."""
    if outcome.at_least:
        return min(value / outcome.bound, MOST_MARGIN)
    return min(outcome.bound / value, MOST_MARGIN) if value > 0 else MOST_MARGIN


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
