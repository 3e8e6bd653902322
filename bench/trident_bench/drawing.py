"""What all pictures share: colours, which colour-blind people tell apart, and a plain style.

matplotlib is loaded when something is drawn: it takes a second, and must not be loaded beside what is measured.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OURS, OTHERS, CEILING, BAD, INK, FAINT, GRID = (
    "#0f766e",
    "#94a3b8",
    "#b6c2d1",
    "#c4512f",
    "#1e293b",
    "#64748b",
    "#e2e8f0",
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
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "figure.facecolor": "white",
    "legend.frameon": False,
}
DPI = 130


@contextmanager
def drawing(file: Path, width: float, height: float, title: str = "") -> Iterator[Figure]:
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


def bars(axes: Axes, lines: list[tuple[str, tuple[float, float, float] | None, str]], words: str = "{:,.0f}") -> None:
    """Draw a bar a line, its name above it, with a whisker from the lowest to the highest.

    Args:
        axes: where to.
        lines: name; median, lowest and highest, or None for what was not measured; colour. From the top.
        words: of a median.
    """
    height, fewest = 0.42, 4
    most = max((spread[2] for _, spread, _ in lines if spread), default=1.0)
    for place, (name, spread, colour) in enumerate(lines):
        axes.text(0, place - 0.5 * height - 0.06, name, va="bottom", fontsize=9)
        if spread is None:
            axes.text(0, place, "not measured", va="center", color=FAINT, style="italic")
            continue
        median, low, high = spread
        axes.barh(place, median, color=colour, height=height)
        if high > low:
            whisker = [[median - low], [high - median]]
            axes.errorbar(median, place, xerr=whisker, fmt="none", ecolor=INK, elinewidth=1, capsize=2.5)
        axes.text(high + 0.012 * most, place, words.format(median), va="center", fontweight="bold")
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlim(0, 1.14 * most)
    # Lines for as many as there may be, so that two do not fill a panel.
    axes.set_ylim(max(len(lines), fewest) - 0.6, -0.85)
    axes.grid(visible=False, axis="y")
