"""One point with NVIDIA's perf_analyzer."""

from __future__ import annotations

import csv
import random
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from trident_bench.load.errors import PointError, TooShortError
from trident_bench.load.plan import Level
from trident_bench.load.results import Latency, Load
from trident_bench.load.window import Probe, Window, stop, watch
from trident_bench.perf_analyzer import BINARY

#: perf_analyzer measures in windows, of which it wants three that agree.
WINDOWS = 3
#: perf_analyzer measures so many times longer than it is told to.
LONGER = 1.2
#: In percent, so large that windows always agree: how long a point takes is said in advance, and the spread is in p99.
ANY_SPREAD = 1_000_000
#: Over gRPC, few threads keep many requests under way. Over HTTP, perf_analyzer's asynchronous client adds tens of
#: milliseconds of its own, so a thread waits for each request: an open loop ends at so many under way, and says so as
#: late requests.
GRPC_THREADS, HTTP_THREADS = 2, 256
#: Seconds from the start of perf_analyzer until its load has begun.
LEAD_SECONDS = 0.3
#: It waits for all that is under way when it ends; an overloaded server takes its time.
DRAIN_SECONDS = 30.0
#: Of what it printed, where it failed.
LINES_TOLD = 3
MICROSECONDS = 1e6
MICROSECONDS_PER_MS = 1000.0


def write_schedule(file: Path, rate: float, seconds: float, seed: int = 7) -> None:
    """Write the microseconds between requests of a Poisson process, with exactly the asked mean.

    perf_analyzer's own Poisson schedule begins with the same draws each time, and in a short run sends up to a fifth
    fewer requests than asked.
    """
    rng = random.Random(seed)
    drawn = [rng.expovariate(1.0) for _ in range(max(round(rate * seconds), 1))]
    scale = len(drawn) / rate / sum(drawn) * MICROSECONDS
    # It refuses a pause of 0.
    file.write_text("".join(f"{max(round(each * scale), 1)}\n" for each in drawn))


def command(
    ensemble: str, protocol: Literal["http", "grpc"], url: str, data: Path, level: Level, seconds: float
) -> list[str]:
    """Return the command that measures one point; it writes its report into its working directory.

    Given a path, it could not name the reports of the composing models, which begin with their names.
    """
    given = [str(BINARY), "-m", ensemble, "-u", url, "-i", protocol, "--input-data", str(data.resolve())]
    if level.mode == "concurrency":
        given += ["--concurrency-range", f"{level.value:g}"]
    else:
        given += ["--request-intervals", f"{level.slug}.intervals"]
    how, threads = ("--async", GRPC_THREADS) if protocol == "grpc" else ("--sync", HTTP_THREADS)
    given += [how, "--max-threads", str(threads), "-f", f"{level.slug}.csv", "--verbose-csv"]
    window = max(int(seconds * 1000 / WINDOWS / LONGER), 1)
    given += ["--measurement-interval", str(window), "--max-trials", str(WINDOWS)]
    return [*given, "--stability-percentage", str(ANY_SPREAD)]


def measure(
    arguments: list[str],
    level: Level,
    seconds: float,
    folder: Path,
    environment: Mapping[str, str],
    probe: Probe,
) -> tuple[Load, Window]:
    """Run perf_analyzer and return what it saw, and what Triton did meanwhile.

    Its table (``<level>.csv``), those of the composing models and what it printed (``<level>.txt``) stay in ``folder``.

    Raises:
        PointError: it failed; carries what it said.
    """
    printed = folder / f"{level.slug}.txt"
    before = probe.failures()
    # Else an earlier run's table would be taken for this one's.
    (folder / f"{level.slug}.csv").unlink(missing_ok=True)
    if level.mode == "rate":
        write_schedule(folder / f"{level.slug}.intervals", level.value, seconds)
    with printed.open("w", encoding="utf-8") as output:
        # In a process group of its own: Ctrl-C at the terminal ends it through us, at once.
        process = subprocess.Popen(
            arguments, cwd=folder, env=dict(environment), stdout=output, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        try:
            begins = time.monotonic() + LEAD_SECONDS
            window = watch(process, probe, seconds, seconds + DRAIN_SECONDS, lambda: time.monotonic() >= begins)
        finally:
            stop(process)
    said = printed.read_text("utf-8", errors="replace")
    table = folder / f"{level.slug}.csv"
    if process.returncode != 0 or not table.is_file():
        raise failure(said)
    return read_load(table.read_text("utf-8"), said, probe.failures() - before), window


def failure(said: str) -> PointError:
    """Return what went wrong, from what perf_analyzer printed; its settings are left out."""
    if "No valid requests recorded" in said:
        return TooShortError("a window of perf_analyzer passed without an answer; measure for more seconds")
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return PointError(f"perf_analyzer failed: {' '.join(lines[-LINES_TOLD:])}")


def read_load(table: str, said: str, failures: int) -> Load:
    """Return what perf_analyzer saw at its one level.

    Args:
        table: its CSV; latencies in microseconds.
        said: what it printed, which alone has the count of requests and the share of late ones.
        failures: of the ensemble, as Triton counted them meanwhile.

    Raises:
        PointError: it measured nothing.
    """
    rows = list(csv.DictReader(table.splitlines()))
    count = re.search(r"Request count: (\d+)", said)
    if len(rows) != 1 or count is None or int(count[1]) == 0:
        raise TooShortError("perf_analyzer saw no request answered; measure for more seconds")
    late = re.search(r"([\d.]+)% of the requests were delayed", said)
    row = rows[0]
    try:
        names = {"mean": "Avg", "p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99"}
        latency = {key: float(row[f"{name} latency"]) / MICROSECONDS_PER_MS for key, name in names.items()}
        return Load(
            requests=int(count[1]),
            failures=failures,
            throughput=float(row["Inferences/Second"]),
            latency=Latency(**latency),
            late=float(late[1]) / 100 if late else 0.0,
        )
    except (KeyError, ValueError) as error:
        raise PointError(f"perf_analyzer's table cannot be read: {error}") from error
