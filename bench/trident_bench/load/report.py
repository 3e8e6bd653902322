"""The report of a load test: a table of all ensembles; for each its picture, its stages and its points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trident_bench.drawing import COLOURS, INK, picture
from trident_bench.load.plan import Mode, Protocol
from trident_bench.load.summary import Curve, Sweep, facade_share
from trident_bench.load.window import StageUsage
from trident_bench.report import Section, Table, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES: dict[Protocol, str] = {"http": "HTTP", "grpc": "gRPC", "facade": "facade"}
STYLES: dict[Protocol, tuple[str, str]] = dict(zip(NAMES, zip(COLOURS, "os^", strict=False), strict=True))
LOOPS: dict[Mode, str] = {"concurrency": "closed loop", "rate": "open loop"}
UNITS: dict[Mode, str] = {"concurrency": "under way", "rate": "a second"}
TITLES: dict[Mode, str] = {
    "concurrency": "Closed loop: requests under way at once (the numbers)",
    "rate": "Open loop: so many requests a second, at random times",
}
OVERVIEW = (
    "ensemble",
    "by",
    "bottleneck",
    "lone, p50 ms",
    "at the knee, requests/s",
    "under way there",
    "p99 ms there",
    "highest, requests/s",
    "open loop, requests/s",
)
POINTS = (
    "load",
    "requests/s",
    "mean ms",
    "p50",
    "p90",
    "p95",
    "p99",
    "answered",
    "failed",
    "late",
    "cores",
    "of it load",
)
#: In words of ``bench/README.md``, which says more.
LEGEND = (
    "The knee is the highest throughput without failures whose p99 is at most {multiple:g} times the median of a lone "
    "request (dotted in the pictures); '≥' says that the sweep ended before it.",
    "The bottleneck is the composing model whose instances compute for at least 80 % of the time at the knee; all "
    "cores where none does but the machine has no time left. Above 100 %, several batches were computed at a time.",
)


def sections(sweeps: Sequence[Sweep], multiple: float, notes: Sequence[str], folder: Path) -> list[Section]:
    """Return the report's sections, and draw their pictures into the folder."""
    ensembles: dict[str, list[Sweep]] = {}
    for sweep in sweeps:
        ensembles.setdefault(sweep.ensemble, []).append(sweep)
    legend = [each.format(multiple=multiple) for each in LEGEND]
    overview = Table("Knees", OVERVIEW, [_overview(each) for each in sweeps], text_columns=3)
    found = [Section("At a glance", [*notes, *legend], [overview])]
    for name, of_ensemble in ensembles.items():
        file = f"{name}.png"
        draw(of_ensemble, folder / file)
        details = [_table(sweep) for sweep in of_ensemble]
        found.append(Section(name, _remarks(of_ensemble), pictures=[file], details=details))
    return found


def draw(sweeps: Sequence[Sweep], file: Path) -> None:
    """Draw latency against throughput for one ensemble: median and p99, closed loop above open loop."""
    modes = [mode for mode in TITLES if any(sweep.curve(mode) for sweep in sweeps)]
    with picture(file, 7, 4.4 * len(modes)) as canvas:
        for axes, mode in zip(canvas.subplots(len(modes), squeeze=False)[:, 0], modes, strict=True):
            for sweep in sweeps:
                if (curve := sweep.curve(mode)) is not None:
                    _draw_curve(axes, sweep.protocol, curve)
            axes.set(title=TITLES[mode], xlabel="answered requests a second", ylabel="latency, ms", yscale="log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
            axes.set_xlim(left=0)
            for label, style in (("median", "-"), ("p99", "--"), ("limit of p99", ":")):
                axes.plot([], [], style, color=INK, label=label)
            axes.plot([], [], "*", color=INK, label="knee")
            axes.legend(ncols=2)


def _draw_curve(axes: Axes, protocol: Protocol, curve: Curve) -> None:
    colour, marker = STYLES[protocol]
    throughput = [point.load.throughput for point in curve.points]
    median = [point.load.latency.p50 for point in curve.points]
    p99 = [point.load.latency.p99 for point in curve.points]
    axes.plot(throughput, median, "-", marker=marker, color=colour, label=NAMES[protocol])
    axes.plot(throughput, p99, "--", marker=marker, color=colour, markerfacecolor="white")
    if curve.mode == "concurrency":
        for point, place in zip(curve.points, zip(throughput, median, strict=True), strict=True):
            number = f"{point.value:g}"
            axes.annotate(number, place, (0, -11), textcoords="offset points", ha="center", fontsize=7, color=colour)
    if curve.knee.point is not None and not curve.knee.within:
        load = curve.knee.point.load
        axes.plot(load.throughput, load.latency.p99, "*", markersize=15, color=colour, markeredgecolor="white")
    axes.axhline(curve.knee.limit_ms, color=colour, linestyle=":", linewidth=1)


def _overview(sweep: Sweep) -> list[str]:
    closed, opened = sweep.curve("concurrency"), sweep.curve("rate")
    curve = closed or opened
    bottleneck = curve.bottleneck.title if curve and curve.bottleneck else "–"
    knee = closed.knee.point if closed else None
    at = [figure(knee.value), figure(knee.load.latency.p99)] if knee else ["–", "–"]
    highest = figure(closed.highest) if closed else "–"
    cells = [sweep.ensemble, NAMES[sweep.protocol], bottleneck, figure(sweep.lone_ms)]
    return [*cells, _throughput(closed), *at, highest, _throughput(opened)]


def _throughput(curve: Curve | None) -> str:
    if curve is None or curve.knee.point is None:
        return "–" if curve is None else "none"
    return ("≥ " if curve.knee.within else "") + figure(curve.knee.point.load.throughput)


def _remarks(sweeps: Sequence[Sweep]) -> list[str]:
    found = []
    for sweep in sweeps:
        for curve in sweep.curves:
            title, bottleneck = f"{NAMES[sweep.protocol]}, {LOOPS[curve.mode]}", curve.bottleneck
            if bottleneck is None:
                limit = figure(curve.knee.limit_ms)
                found.append(f"{title}: no point without failures has a p99 of at most {limit} ms.")
            else:
                kind = "no bottleneck yet" if bottleneck.kind == "none" else "bottleneck"
                found.append(f"{title}: {kind}: {bottleneck.why}.")
    if share := facade_share(sweeps):
        found.append(f"With {figure(share[0])} requests under way, the facade answers {share[1]:.0%} of gRPC's.")
    return found


def _table(sweep: Sweep) -> Table:
    stages = [each.name for each in sweep.curves[0].points[0].window.stages]
    headings = (*POINTS, *(f"{each}: queue + compute ms, items a batch, busy" for each in stages))
    return Table(
        f"{NAMES[sweep.protocol]}: all points", headings, [row for each in sweep.curves for row in _points(each)]
    )


def _points(curve: Curve) -> list[list[str]]:
    rows = []
    for point in curve.points:
        load, window = point.load, point.window
        knee = " (knee)" if point == curve.knee.point else ""
        rows.append(
            [
                f"{figure(point.value)} {UNITS[curve.mode]}{knee}",
                *map(figure, (load.throughput, *load.latency.model_dump().values())),
                f"{load.requests:,}",
                str(load.failures),
                f"{load.late:.0%}" if curve.mode == "rate" else "",
                f"{window.cores_busy:.0%}",
                f"{window.generator_busy:.0%}",
                *map(_stage, window.stages),
            ]
        )
    return rows


def _stage(stage: StageUsage) -> str:
    return f"{figure(stage.queue_ms)} + {figure(stage.compute_ms)}, {figure(stage.batch)}, {stage.busy:.0%}"
