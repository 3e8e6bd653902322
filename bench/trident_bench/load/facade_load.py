"""One point with Locust, which asks the facade over HTTP with a different body each time.

Locust was chosen because pip installs it wherever Trident runs, and because a few lines give it an open loop: wrk has
closed loops alone, hey and ab send one body, and autocannon sends a second's requests at the second's start and tells
whole milliseconds. It takes more processor time for a request than those do; every point says how much. Its packages do
not agree with tritonclient's, so it has an environment of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trident_bench.load.errors import MissingGeneratorError, PointError, TooShortError
from trident_bench.load.plan import Level
from trident_bench.load.results import Latency, Load
from trident_bench.load.window import Probe, Window, stop, watch

PINNED = Path(__file__).with_name("locust.txt")
LOCUSTFILE = Path(__file__).with_name("locustfile.py")
INSTALL_SECONDS = 600
WARM_UP_SECONDS = 0.5
#: It starts, and waits for what is under way, within this time.
DRAIN_SECONDS = 60.0
#: Users that are started in a second: all at once.
SPAWN_RATE = 10_000


@dataclass(frozen=True)
class Locust:
    """An environment that Locust is installed in.

    Attributes:
        python: its interpreter.
    """

    python: Path


def install(folder: Path, pinned: Path = PINNED) -> Locust:
    """Return the environment with the pinned packages in ``folder``, which is made where it is missing or outdated.

    Raises:
        MissingGeneratorError: they cannot be installed; says why.
    """
    # Run from another working directory, and a link that must not be followed: behind it is the plain interpreter.
    python = folder.absolute() / "bin" / "python"
    stamp = folder / "installed"
    digest = hashlib.sha256(pinned.read_bytes()).hexdigest()
    if python.exists() and stamp.is_file() and stamp.read_text() == digest:
        return Locust(python)
    # venv alone knows how to be made anew over another one.
    commands = [
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r", str(pinned)],
    ]
    for command in commands:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise MissingGeneratorError(f"Locust could not be installed: {error}") from error
        if done.returncode != 0:
            raise MissingGeneratorError(f"Locust could not be installed: {done.stderr.strip()[-400:]}")
    stamp.write_text(digest)
    return Locust(python)


def measure(
    locust: Locust, url: str, requests: Path, level: Level, seconds: float, folder: Path, probe: Probe
) -> tuple[Load, Window]:
    """Run Locust and return what it saw, and what Triton did meanwhile.

    What it printed (``<level>.txt``) and every latency (``<level>.latencies.json``) stay in ``folder``.

    Raises:
        PointError: it failed; carries what it said.
    """
    printed, result, begun = (folder / f"{level.slug}.{end}" for end in ("txt", "latencies.json", "begun"))
    for file in (result, begun):
        file.unlink(missing_ok=True)
    users = int(level.value) if level.mode == "concurrency" else 1
    options = {
        "locustfile": LOCUSTFILE,
        "host": url,
        "users": users,
        "spawn-rate": SPAWN_RATE,
        "requests": requests.resolve(),
        "mode": level.mode,
        "value": level.value,
        "seconds": seconds,
        "warm-up": WARM_UP_SECONDS,
        "begun": begun.resolve(),
        "result": result.resolve(),
        "exit-code-on-error": 0,
    }
    given = [f"--{name}={value}" for name, value in options.items()]
    with printed.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [str(locust.python), "-m", "locust", "--headless", "--only-summary", *given],
            cwd=folder, env=_environment(), stdout=output, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            window = watch(process, probe, seconds, seconds + DRAIN_SECONDS, begun.exists)
        finally:
            stop(process)
            begun.unlink(missing_ok=True)
    if process.returncode != 0 or not result.is_file():
        said = printed.read_text("utf-8", errors="replace")
        raise PointError(f"Locust failed: {' '.join(said.split())[-400:]}")
    return read_load(result.read_text("utf-8"), seconds), window


def read_load(told: str, seconds: float) -> Load:
    """Return what Locust saw, from what its file tells.

    Raises:
        PointError: no request was answered; says how they failed.
    """
    found = json.loads(told)
    failures: Counter[str] = Counter(found["failures"])
    latencies = found["latencies"]
    if not latencies:
        if failures:
            raise PointError(f"Locust saw no request answered: {failures.most_common(1)[0][0]}")
        raise TooShortError("Locust saw no request answered; measure for more seconds")
    p50, p90, p95, p99 = (float(each) for each in np.percentile(latencies, (50, 90, 95, 99)))
    return Load(
        requests=len(latencies),
        failures=failures.total(),
        throughput=len(latencies) / seconds,
        latency=Latency(mean=float(np.mean(latencies)), p50=p50, p90=p90, p95=p95, p99=p99),
        late=found["late"],
    )


def _environment() -> dict[str, str]:
    # Locust reads options from LOCUST_ variables, and this project's packages are not for its interpreter.
    return {
        name: value for name, value in os.environ.items() if not name.startswith("LOCUST_") and name != "PYTHONPATH"
    }
