"""What is said on standard error while points are measured."""

from __future__ import annotations

import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from trident_bench.load.sweep import Step, Sweeper

#: Seconds that a point takes beyond its own, until one was measured.
GUESSED_EXTRA = 2.0


def show(sweeper: Sweeper, console: Console) -> Iterator[Step]:
    """Hand on a sweep's steps, with a bar on a terminal and a line for each measured point anywhere."""
    total = sweeper.plan.size
    done = reused = 0
    took: list[float] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total, left="")
        sweeper.on_start = lambda name: progress.update(task, description=name)
        for step in sweeper.steps():
            done += 1
            if step.seconds:
                took.append(step.seconds)
            each = sum(took) / len(took) if took else sweeper.plan.seconds + GUESSED_EXTRA
            left = _told_time(each * (total - done))
            progress.update(task, completed=done, left=f"about {left} left")
            if step.point is None or step.seconds:
                line = Text(f"{done}/{total} {step.name}: ").append(_told(step))
                console.print(line if console.is_terminal else line.append(f"; about {left} left"), soft_wrap=True)
            else:
                reused += 1
            yield step
    if reused:
        console.print(f"{reused} points were measured by an earlier run; --fresh measures them again.")


def _told(step: Step) -> Text:
    if step.point is None:
        return Text(f"not measured: {step.problem}", style="red")
    load = step.point.load
    failed = f", {load.failures} failed" if load.failures else ""
    return Text(
        f"{load.throughput:,.1f} requests/s, median {load.latency.p50:.1f} ms, p99 {load.latency.p99:.1f} ms{failed}",
        style="yellow" if load.failures else "",
    )


def _told_time(seconds: float) -> str:
    return (
        time.strftime("%H:%M:%S", time.gmtime(seconds))
        if seconds >= 3600
        else f"{seconds // 60:.0f}:{seconds % 60:02.0f}"
    )
