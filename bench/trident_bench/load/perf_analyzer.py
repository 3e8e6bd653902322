"""NVIDIA's perf_analyzer as tritonclient's wheel carries it: where it is, its arguments, and its output."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from trident_bench.ensembles import Ensemble
from trident_bench.errors import MeasurementError, TooShortError
from trident_bench.load.generated import ROWS
from trident_bench.load.plan import Level, Protocol
from trident_bench.load.points import Latency, Load
from trident_bench.load.window import READ_SHARE, Probe, Reading, Window

#: Libraries by the names that perf_analyzer asks for; pytriton's wheel holds them under hashed names.
LIBRARIES = {"libb64-": "libb64.so.0d", "libcudart-": "libcudart.so.12"}
BINARY = Path(sys.executable).with_name("perf_analyzer")
#: perf_analyzer measures in windows, of which it wants three that agree.
WINDOWS = 3
#: perf_analyzer measures so many times longer than its arguments say.
LONGER = 1.2
#: In percent, so large that windows always agree: how long a point takes is said in advance, and the spread is in p99.
ANY_SPREAD = 1_000_000
#: Over gRPC, few threads keep many requests under way. Over HTTP, perf_analyzer's asynchronous client adds tens of
#: milliseconds of its own, so a thread waits for each request: an open loop ends at so many under way, and says so as
#: late requests.
GRPC_THREADS, HTTP_THREADS = 2, 256
#: It waits for all that is under way when it ends; an overloaded server takes its time.
DRAIN_SECONDS = 30.0
#: Of what it printed, where it failed.
LINES_OF_FAILURE = 3
MICROSECONDS = 1e6
MICROSECONDS_PER_MS = 1000.0
POLL_SECONDS = 0.02


@contextmanager
def environment() -> Iterator[dict[str, str]]:
    """Give the environment that perf_analyzer runs in, for as long as the context lasts.

    Raises:
        FileNotFoundError: the wheels that hold perf_analyzer and its libraries are not installed.
    """
    spec = find_spec("pytriton")
    if spec is None or spec.origin is None or not BINARY.is_file():
        raise FileNotFoundError("perf_analyzer was not found; pip install 'trident-nlp[server]'")
    with TemporaryDirectory(prefix="trident-perf-") as folder:
        for library in Path(spec.origin).parents[1].joinpath("nvidia_pytriton.libs").iterdir():
            for start, name in LIBRARIES.items():
                if library.name.startswith(start):
                    (Path(folder) / name).symlink_to(library)
        yield {**os.environ, "LD_LIBRARY_PATH": folder}


def write_data(ensemble: Ensemble, folder: Path) -> Path:
    """Write an ensemble's requests as perf_analyzer takes them, the same every time."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{ensemble.name}.json"
    names = [each.tensor for each in ensemble.spec.required]
    rows = [{name: [text] for name, text in zip(names, item, strict=True)} for item in ensemble.items(ROWS)]
    file.write_text(json.dumps({"data": rows}, ensure_ascii=False), "utf-8")
    return file


def write_schedule(file: Path, rate: float, seconds: float, seed: int = 7) -> None:
    """Write the microseconds between requests of a Poisson process, with exactly the given mean.

    perf_analyzer's own Poisson schedule begins with the same draws each time, and in a short run sends up to a fifth
    fewer requests than wanted.
    """
    rng = random.Random(seed)
    drawn = [rng.expovariate(1.0) for _ in range(max(round(rate * seconds), 1))]
    scale = len(drawn) / rate / sum(drawn) * MICROSECONDS
    # It refuses a pause of 0.
    file.write_text("".join(f"{max(round(each * scale), 1)}\n" for each in drawn))


def command(ensemble: str, protocol: Protocol, url: str, data: Path, level: Level, seconds: float) -> list[str]:
    """Return the command that measures one point; it writes its report into its working directory.

    Given a path, it could not name the reports of the composing models, which begin with their names.
    """
    arguments = [str(BINARY), "-m", ensemble, "-u", url, "-i", protocol, "--input-data", str(data.resolve())]
    if level.mode == "concurrency":
        arguments += ["--concurrency-range", f"{level.value:g}"]
    else:
        arguments += ["--request-intervals", f"{level.slug}.intervals"]
    how, threads = ("--async", GRPC_THREADS) if protocol == "grpc" else ("--sync", HTTP_THREADS)
    arguments += [how, "--max-threads", str(threads), "-f", f"{level.slug}.csv", "--verbose-csv"]
    window = max(int(seconds * 1000 / WINDOWS / LONGER), 1)
    arguments += ["--measurement-interval", str(window), "--max-trials", str(WINDOWS)]
    return [*arguments, "--stability-percentage", str(ANY_SPREAD)]


def measure(
    arguments: list[str], level: Level, seconds: float, folder: Path, environment: Mapping[str, str], probe: Probe
) -> tuple[Load, Window]:
    """Run perf_analyzer and return what it measured, and what Triton did meanwhile.

    Its table (``<level>.csv``), those of the composing models and what it printed (``<level>.txt``) stay in ``folder``.

    Raises:
        MeasurementError: it failed; carries what it printed last.
    """
    before = probe.failures()
    table, printed = folder / f"{level.slug}.csv", folder / f"{level.slug}.txt"
    # Else an earlier run's table would be taken for this one's.
    table.unlink(missing_ok=True)
    if level.mode == "rate":
        write_schedule(folder / f"{level.slug}.intervals", level.value, seconds)
    with printed.open("w", encoding="utf-8") as output:
        # In a process group of its own: Ctrl-C at the terminal ends it through us, at once.
        process = subprocess.Popen(
            arguments,
            cwd=folder,
            env=dict(environment),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            window = watch(process, probe, seconds)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
    log = printed.read_text("utf-8", errors="replace")
    if process.returncode != 0 or not table.is_file():
        raise failure(log)
    return read_load(table.read_text("utf-8"), log, probe.failures() - before), window


def watch(process: subprocess.Popen[bytes], probe: Probe, seconds: float) -> Window:
    """Wait for perf_analyzer to end, with two readings while its load lasts; the first once a request was answered.

    Raises:
        MeasurementError: it took too long.
    """
    began = time.monotonic()
    before = probe.read(process.pid)
    first: Reading | None = None
    last: Reading | None = None
    while process.poll() is None:
        now = time.monotonic()
        if first is None:
            reading = probe.read(process.pid)
            first = reading if reading.executions > before.executions else None
        elif last is None and now >= first.at + READ_SHARE * seconds:
            last = probe.read(process.pid)
        if now > began + seconds + DRAIN_SECONDS:
            raise MeasurementError(f"perf_analyzer did not end within {seconds + DRAIN_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)
    # One that ended early has failed, and says so itself.
    return probe.between(first or before, last or probe.read(process.pid))


def failure(log: str) -> MeasurementError:
    """Return what went wrong, from what perf_analyzer printed; its settings are left out."""
    if "No valid requests recorded" in log:
        return TooShortError("a window of perf_analyzer passed without an answer; measure for more seconds")
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return MeasurementError(f"perf_analyzer failed: {' '.join(lines[-LINES_OF_FAILURE:])}")


def read_load(table: str, log: str, failures: int) -> Load:
    """Return what perf_analyzer measured at its one level.

    Args:
        table: its CSV; latencies in microseconds.
        log: what it printed, which alone has the count of requests and the share of late ones.
        failures: of the ensemble, as Triton counted them meanwhile.

    Raises:
        MeasurementError: it measured nothing.
    """
    rows = list(csv.DictReader(table.splitlines()))
    count = re.search(r"Request count: (\d+)", log)
    if len(rows) != 1 or count is None or int(count[1]) == 0:
        raise TooShortError("perf_analyzer saw no request answered; measure for more seconds")
    late = re.search(r"([\d.]+)% of the requests were delayed", log)
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
        raise MeasurementError(f"perf_analyzer's table cannot be read: {error}") from error
