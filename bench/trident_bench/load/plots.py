"""Latency against throughput, one picture for each ensemble."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trident_bench.load.plan import Mode, Protocol
from trident_bench.load.summary import ModeSummary, SweepSummary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Okabe and Ito's colours, which colour-blind people tell apart.
COLOURS: dict[Protocol, str] = {"http": "#0072B2", "grpc": "#D55E00", "facade": "#009E73"}
MARKERS: dict[Protocol, str] = {"http": "o", "grpc": "s", "facade": "^"}
NAMES: dict[Protocol, str] = {"http": "HTTP", "grpc": "gRPC", "facade": "facade"}
TITLES: dict[Mode, str] = {
    "concurrency": "Closed loop: requests under way at once (the numbers)",
    "rate": "Open loop: so many requests a second, at random times",
}
INK, FAINT = "#333333", "#999999"
DPI = 180


def draw(sweeps: Sequence[SweepSummary]) -> bytes:
    """Return a PNG of all sweeps of one ensemble: median and p99, closed loop above open loop."""
    # Not at import: it takes a second, and the command's help does not need it.
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    modes = [mode for mode in TITLES if any(sweep.mode(mode) for sweep in sweeps)]
    style: Any = {
        "font.size": 10,
        "axes.edgecolor": FAINT,
        "text.color": INK,
        "axes.labelcolor": INK,
        "figure.dpi": DPI,
    }
    with plt.rc_context(style):
        figure, axes = plt.subplots(len(modes), figsize=(5.6, 3.9 * len(modes)), squeeze=False, layout="constrained")
        for axis, mode in zip(axes[:, 0], modes, strict=True):
            for sweep in sweeps:
                if (summary := sweep.mode(mode)) is not None:
                    _draw_sweep(axis, sweep.protocol, summary)
            _finish(axis, mode)
        _legend(figure, [sweep.protocol for sweep in sweeps])
        file = io.BytesIO()
        # Without the date and the version in the file, the same points make the same bytes.
        figure.savefig(file, format="png", metadata={"Software": None})
        plt.close(figure)
    return file.getvalue()


def _draw_sweep(axis: Axes, protocol: Protocol, summary: ModeSummary) -> None:
    colour = COLOURS[protocol]
    throughput = [point.load.throughput for point in summary.points]
    median = [point.load.latency.p50 for point in summary.points]
    p99 = [point.load.latency.p99 for point in summary.points]
    axis.plot(throughput, median, "-", marker=MARKERS[protocol], markersize=4.5, color=colour, linewidth=1.6)
    axis.plot(throughput, p99, "--", marker=MARKERS[protocol], markersize=4.5, color=colour, linewidth=1.1, mfc="white")
    if summary.mode == "concurrency":
        for point, x, y in zip(summary.points, throughput, median, strict=True):
            axis.annotate(
                f"{point.value:g}", (x, y), (0, -11), textcoords="offset points", ha="center", fontsize=7, color=colour
            )
    if summary.knee.point is not None and not summary.knee.within:
        load = summary.knee.point.load
        axis.plot(load.throughput, load.latency.p99, "*", markersize=15, color=colour, mec="white", mew=1, zorder=5)
    axis.axhline(summary.knee.limit_ms, color=colour, linewidth=0.8, linestyle=":", alpha=0.7)


def _finish(axis: Axes, mode: Mode) -> None:
    axis.set_title(TITLES[mode], fontsize=9, loc="left")
    axis.set_xlabel("answered requests a second")
    axis.set_ylabel("latency, ms")
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    axis.tick_params(which="both", labelsize=8, color=FAINT)
    axis.set_xlim(left=0)
    axis.grid(which="major", color="#e4e4e4", linewidth=0.8)
    axis.spines[["top", "right"]].set_visible(False)
    axis.margins(y=0.12)


def _legend(figure: Figure, protocols: Sequence[Protocol]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=COLOURS[each], marker=MARKERS[each], markersize=5, label=NAMES[each]) for each in protocols
    ]
    handles += [
        Line2D([], [], color=INK, label="median"),
        Line2D([], [], color=INK, linestyle="--", linewidth=1.1, label="p99"),
        Line2D([], [], color=INK, linestyle=":", linewidth=0.9, label="limit of p99"),
        Line2D([], [], color=INK, linestyle="", marker="*", markersize=10, label="knee"),
    ]
    # Above the axes, where it covers no line.
    figure.legend(handles=handles, fontsize=8, frameon=False, loc="outside upper left", ncols=4)
