"""Runs the engines of others over a real Triton, from an environment of their own, and writes the table.

``make engines``: where a worker or the server is killed half-way, no row may be lost or come twice.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from trident_client import TridentClient, contract
from trident_server.ports import free_ports
from trident_server.process import TritonProcess

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CACHE = ROOT / ".trident" / "engines"
PYTHON = CACHE / "bin" / "python"
FILES = 8
#: Seconds that one job may take.
LONGEST = 900
#: What the process of a worker that has something to do is called, by the engine.
WORKERS = {"ray": "ray::MapBatches", "files": "ray::answer", "spark": "pyspark.daemon"}
NAMES = {
    "command": "`trident embed`",
    "files": "`trident embed --engine ray`",
    "ray": "Ray Data, `trident_client.ray`",
    "spark": "Spark, `trident_client.spark`",
    "inside": "Ray Data, sentence-transformers in the worker",
}
WORDS = "a man plays the guitar while children sing and somebody walks along the river under an old bridge"
HEAD = """| engine | rows | workers | killed half-way | rows a second | rows lost | rows twice |
|---|---|---|---|---|---|---|
"""


class Job(NamedTuple):
    """What is run: an engine, its workers, and what is killed when half of the rows are answered."""

    engine: str
    workers: int = 1
    kill: Literal["worker", "server"] | None = None


class Result(NamedTuple):
    """Rows a second, and how many have no answer or more than one."""

    rate: float
    lost: int
    twice: int


JOBS = [
    Job("command"),
    *(Job(engine, workers) for engine in ("files", "ray", "spark") for workers in (1, 2, 3)),
    Job("inside"),
    *(Job(engine, 2, kill) for engine in ("files", "ray", "spark") for kill in ("worker", "server")),
]


class Servers:
    """A Triton on the repository's models, which can be killed and started again at its address."""

    def __init__(self) -> None:
        self._ports = free_ports(3)
        self.url = f"127.0.0.1:{self._ports[0]}"
        self._triton = self._start()

    def _start(self) -> TritonProcess:
        http, grpc, metrics = self._ports
        triton = TritonProcess(
            repository=ROOT / "model_repository",
            cache_dir=ROOT / ".trident",
            http_port=http,
            grpc_port=grpc,
            metrics_port=metrics,
            log_file=CACHE / "triton.log",
            stop_grace=0.0,
        )
        triton.start()
        return triton

    def restart(self) -> None:
        """Kill it, and start another."""
        self.stop()
        self._triton = self._start()

    def stop(self) -> None:
        """Kill it."""
        self._triton.stop()

    def answered(self) -> int:
        """Return how many texts it has embedded."""
        with TridentClient(self.url) as client:
            return sum(each.inferences for each in client.statistics() if each.name == contract.EMBED.of("sts"))


def main() -> None:
    """Run the jobs, and write the table; fails where a row was lost or came twice."""
    parser = argparse.ArgumentParser(prog="make engines", description=__doc__)
    parser.add_argument("--rows", type=int, default=2000, help="of each job; 2,000 show what is lost, not how fast")
    parser.add_argument("--engine", action="append", choices=sorted(NAMES), help="only this one; may be repeated")
    parser.add_argument("--killed", action="store_true", help="only the jobs in which something is killed")
    parser.add_argument("--out", type=Path, default=CACHE / "engines.md", help="the table")
    chosen = parser.parse_args()
    jobs = [each for each in JOBS if each.engine in (chosen.engine or NAMES) and (each.kill or not chosen.killed)]
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
    prepare()
    write_rows(CACHE / "in", chosen.rows)
    servers = Servers()
    lines, failed = [HEAD], False
    console.print(HEAD, end="")
    try:
        for job in jobs:
            result = measure(job, chosen.rows, servers)
            failed |= bool(result.lost or result.twice)
            cells = (NAMES[job.engine], f"{chosen.rows:,}", job.workers, job.kill or "", f"{result.rate:,.0f}")
            lines.append("| " + " | ".join(map(str, (*cells, result.lost, result.twice))) + " |\n")
            console.print(lines[-1], end="")
    finally:
        servers.stop()
    chosen.out.write_text("".join(lines), "utf-8")
    sys.exit(failed)


def prepare() -> None:
    """Lay the engines over the project's environment, where that was not done from the same list."""
    wanted, stamp = HERE / "requirements.txt", CACHE / ".installed"
    if stamp.is_file() and stamp.read_bytes() == wanted.read_bytes():
        return
    subprocess.run([sys.executable, "-m", "venv", CACHE], check=True)
    packages = sysconfig.get_path("purelib")
    own = Path(sysconfig.get_path("purelib", vars={"base": str(CACHE)}))
    (own / "beside.pth").write_text(f"import site; site.addsitedir({packages!r})\n")
    install = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*install, "--requirement", wanted], check=True)
    stamp.write_bytes(wanted.read_bytes())


def write_rows(folder: Path, rows: int) -> None:
    """Write texts of a few words, each with a number of its own, into files of the same size."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    words = WORDS.split()
    for file, numbers in enumerate(np.array_split(np.arange(rows), FILES)):
        texts = [
            f"{number} {' '.join(words[(number + step) % len(words)] for step in range(12))}" for number in numbers
        ]
        pq.write_table(pa.table({"id": numbers, "text": texts}), folder / f"{file}.parquet")


def measure(job: Job, rows: int, servers: Servers) -> Result:
    """Run one job, kill what is to be killed when half of the rows are answered, and count what came out."""
    output = CACHE / "out"
    shutil.rmtree(output, ignore_errors=True)
    before = servers.answered()
    command = [PYTHON, HERE / "job.py", job.engine, CACHE / "in", output, servers.url, str(job.workers)]
    with (CACHE / "job.log").open("w") as log, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log) as process:
        try:
            if job.kill:
                wait_for(lambda: servers.answered() - before >= rows / 2 or process.poll() is not None)
                if process.poll() is None:
                    kill_worker(process.pid, job.engine) if job.kill == "worker" else servers.restart()
            said, _ = process.communicate(timeout=LONGEST)
        finally:
            for each in descendants(process.pid):
                each.kill()
            process.kill()
    if process.returncode:
        raise SystemExit(f"{job.engine} ended with {process.returncode}; see {CACHE / 'job.log'}")
    seconds = float(said.decode().split()[-1])
    found = pq.read_table(output, columns=["id", "embedding"])
    ids = found.column("id").to_pylist()
    whole = [id for id, empty in zip(ids, found.column("embedding").is_null().to_pylist(), strict=True) if not empty]
    return Result(rows / seconds, rows - len(set(whole)), len(ids) - len(set(ids)))


def kill_worker(job: int, engine: str) -> None:
    """Kill one process that works on rows."""
    mine = [each for each in descendants(job) if works(each, WORKERS[engine])]
    if not mine:
        raise SystemExit(f"{engine} has no worker to kill")
    mine[0].kill()


def works(process: psutil.Process, name: str) -> bool:
    """Say whether a process is a worker that has something to do, by its command line."""
    try:
        line, parent = " ".join(process.cmdline()), process.parent()
        above = " ".join(parent.cmdline()) if parent else ""
    except psutil.Error:
        return False
    # Ray's are called after what they do; Spark's are forks of a daemon, whose command line they have.
    return line.startswith(name) or (name in line and name in above)


def descendants(pid: int) -> list[psutil.Process]:
    """Return a process' children and theirs."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + LONGEST
    while not condition():
        if time.monotonic() > end:
            raise SystemExit("half of the rows were never answered")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
