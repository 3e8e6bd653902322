"""All pictures: one style, colours that colour-blind people tell apart, and bars.

matplotlib is loaded when something is drawn: it takes a second, and must not be loaded beside what is measured.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from trident_bench.report import Spread

OURS, OTHERS, CEILING, BAD, INK, FAINT, GRID = (
    "#0f766e",
    "#94a3b8",
    "#b6c2d1",
    "#c4512f",
    "#1e293b",
    "#64748b",
    "#e2e8f0",
)
#: Okabe and Ito's colours.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
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
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "figure.facecolor": "white",
    "legend.frameon": False,
}
DPI = 130
#: Share of a stacked bar from which a part has room for its label.
LABELLED_PERCENT = 5.5
#: Of red, green and blue.
LUMINANCE = (0.299, 0.587, 0.114)


@contextmanager
def picture(file: Path, width: float, height: float, title: str = "") -> Iterator[Figure]:
    """Draw a picture: a figure of so many inches, which is written as PNG when the context ends."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
        yield figure
        file.parent.mkdir(parents=True, exist_ok=True)
        # Without the version in the file, the same figures make the same bytes.
        figure.savefig(file, dpi=DPI, metadata={"Software": None})


def bars(
    axes: Axes, title: str, lines: Sequence[tuple[str, Spread | None, str]], number_format: str = "{:,.0f}"
) -> None:
    """Draw a bar a line, its name above it, with a whisker from the lowest to the highest.

    Args:
        axes: where to.
        title: above it.
        lines: name; spread, or None for what was not measured; colour. From the top.
        number_format: of a median.
    """
    height, fewest = 0.42, 4
    most = max((spread.high for _, spread, _ in lines if spread), default=1.0)
    axes.set_title(title)
    for place, (name, spread, colour) in enumerate(lines):
        axes.text(0, place - 0.5 * height - 0.06, name, va="bottom", fontsize=9)
        if spread is None:
            axes.text(0, place, "not measured", va="center", color=FAINT, style="italic")
            continue
        axes.barh(place, spread.median, color=colour, height=height)
        if spread.high > spread.low:
            whisker = [[spread.median - spread.low], [spread.high - spread.median]]
            axes.errorbar(spread.median, place, xerr=whisker, fmt="none", ecolor=INK, elinewidth=1, capsize=2.5)
        number = number_format.format(spread.median)
        axes.text(spread.high + 0.012 * most, place, number, va="center", fontweight="bold")
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlim(0, 1.14 * most)
    # Lines for as many as there may be, so that two do not fill a panel.
    axes.set_ylim(max(len(lines), fewest) - 0.6, -0.85)
    axes.grid(visible=False, axis="y")


def stacked_bars(axes: Axes, title: str, rows: Sequence[tuple[str, Sequence[tuple[float, str, str]], str]]) -> None:
    """Draw a bar a row, the whole of it 100 %, cut into its parts.

    Args:
        axes: where to.
        title: above it.
        rows: name; size (0 at least), colour and label of each part; what stands behind the bar. From the top.
    """
    from matplotlib.colors import to_rgb

    for place, (_, parts, note) in enumerate(rows):
        whole = sum(size for size, *_ in parts)
        left = 0.0
        for size, colour, label in parts:
            share = 100 * size / whole
            axes.barh(place, share, left=left, height=0.66, color=colour, edgecolor="white", linewidth=0.5)
            if share >= LABELLED_PERCENT:
                ink = "white" if np.dot(to_rgb(colour), LUMINANCE) < 0.6 else INK
                axes.text(left + share / 2, place, label, ha="center", va="center", fontsize=9, color=ink)
            left += share
        axes.text(102, place, note, va="center", fontsize=10)
    axes.set_title(title)
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows], fontsize=11)
    axes.set_xticks(range(0, 101, 20), [f"{share} %" for share in range(0, 101, 20)])
    axes.set_xlim(0, 130)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
