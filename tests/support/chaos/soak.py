"""A long run of mixed traffic: no answer is wrong, and nothing grows."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import psutil

from chaos.asking import Question
from chaos.server import OwnServer
from chaos.traffic import Outcome, Traffic

PENDING = re.compile(r"^nv_inference_pending_request_count\{.*\} (\S+)$", re.MULTILINE)
#: What may come on top of the first quarter's value: a part of it, and a constant for what is small.
GROWTH = {"memory, MiB": (0.1, 64.0), "descriptors": (0.1, 32.0), "threads": (0.1, 16.0), "/dev/shm, MiB": (0.1, 16.0)}
NAMES = (*GROWTH, "pending in Triton")
#: Between two lines on how far a soak is.
SAID_EVERY_SECONDS = 60.0
#: What is added up over processes; what several of them share, each of them has.
PROCESSES = ("memory, MiB", "descriptors", "threads")


@dataclass(frozen=True)
class Soak:
    """What was measured.

    Attributes:
        seconds: when, from the beginning.
        samples: by what was measured, a value for each of these moments.
        counts: requests by what became of them.
        complaints: what was said to those that were lost or wrong.
    """

    seconds: Sequence[float]
    samples: dict[str, list[float]]
    counts: dict[str, int]
    complaints: Sequence[str]

    def failures(self) -> list[str]:
        """Return what is not as it should be."""
        found = [f"{count} {name}" for name, count in self.counts.items() if name in {"lost", "wrong"} and count]
        quarter = max(1, len(self.seconds) // 4)
        for name, (part, constant) in GROWTH.items():
            # Caches fill in the first quarter: what the second one holds may not grow any more.
            early = float(np.median(self.samples[name][quarter : 2 * quarter]))
            late = float(np.median(self.samples[name][-quarter:]))
            if late > early * (1 + part) + constant:
                found.append(f"{name} grew from {early:.0f} to {late:.0f}")
        if self.samples["pending in Triton"][-1]:
            found.append("Triton's queue was not empty at the end")
        return found


def run(
    server: OwnServer,
    questions: Sequence[Question],
    clients: int,
    seconds: float,
    every: float = 1.0,
    say: Callable[[str], None] = lambda text: None,
) -> Soak:
    """Ask for so many seconds, and measure all processes of the server every so often.

    Args:
        server: is asked and measured.
        questions: whose answers are known.
        clients: how many ask at once.
        seconds: how long.
        every: seconds from one measurement to the next.
        say: is told now and then how far it is.
    """
    samples: dict[str, list[float]] = {name: [] for name in NAMES}
    times: list[float] = []
    started = said = time.monotonic()
    with Traffic(server.url, questions, clients, server.grpc_url) as traffic:
        while time.monotonic() - started < seconds:
            time.sleep(every)
            sample(server, samples)
            times.append(time.monotonic() - started)
            if time.monotonic() - said >= SAID_EVERY_SECONDS:
                said = time.monotonic()
                counts = ", ".join(f"{count:,} {name}" for name, count in traffic.counts().items())
                memory = samples["memory, MiB"][-1]
                say(f"{times[-1] / 60:.1f} of {seconds / 60:g} minutes: {counts}; {memory:,.0f} MiB")
    # With nobody asking any more.
    sample(server, samples)
    times.append(time.monotonic() - started)
    counts = {str(each): traffic.counts()[each] for each in Outcome}
    return Soak(times, samples, counts, traffic.complaints)


def sample(server: OwnServer, samples: dict[str, list[float]]) -> None:
    """Measure once, and append each value to its list."""
    memory = descriptors = threads = 0
    for process in server.family():
        with contextlib.suppress(psutil.Error), process.oneshot():
            memory += process.memory_info().rss
            descriptors += process.num_fds()
            threads += process.num_threads()
    shm = os.statvfs("/dev/shm")
    metrics = httpx.get(server.metrics_url, trust_env=False, timeout=30).text
    pending = sum(float(each) for each in PENDING.findall(metrics))
    used = (shm.f_blocks - shm.f_bfree) * shm.f_frsize
    for name, value in zip(NAMES, (memory / 2**20, descriptors, threads, used / 2**20, pending), strict=True):
        samples[name].append(float(value))


def plot(soak: Soak, file: Path) -> None:
    """Draw each of the values over time."""
    import matplotlib.pyplot as plt

    minutes = np.array(soak.seconds) / 60
    figure, axes = plt.subplots(len(NAMES), 1, figsize=(9, 10), sharex=True)
    for axis, name in zip(axes, NAMES, strict=True):
        axis.plot(minutes, soak.samples[name])
        axis.set(ylim=(0, 1.15 * max(*soak.samples[name], 1.0)))
        axis.set_title(f"{name}, of all of the server's processes" if name in PROCESSES else name, loc="left", size=10)
        axis.grid(alpha=0.4)
    axes[-1].set(xlabel="minutes")
    figure.suptitle(", ".join(f"{count:,} {name}" for name, count in soak.counts.items()))
    figure.tight_layout()
    figure.savefig(file, dpi=72, pil_kwargs={"optimize": True})
    plt.close(figure)
