"""What a request costs each process on its way: HAProxy, the facade, and Triton, in milliseconds of a processor.

``PYTHONPATH=tests/support python scripts/measure_balancer.py`` asks for a sentence's embedding, one a request, through
HAProxy as ``docker/haproxy`` has it, and prints what ``scripts/simulate_hosts.py`` reckons with. The machine should
have nothing else to do. HAProxy is the machine's, or else is unpacked below ``.trident/debian``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import uvloop
from haproxy import balancer
from trident_bench.ensembles import choose
from trident_bench.generator.http import http
from trident_bench.generator.loop import closed_loop, send_once
from trident_bench.generator.requests import facade_request
from trident_bench.repository import ensembles
from trident_bench.servers import READY_SECONDS, new_facade
from trident_server.process import TritonProcess

ROOT = Path(__file__).resolve().parents[1]
#: The balancer listens where the hosts do not, on the same port.
HOST, BALANCER = "127.0.0.1", "127.0.0.2"
ENSEMBLE, IN_FLIGHT = "sts_embedding", 24
SECONDS_TO_START = 60.0


def processor_seconds(pid: int) -> float:
    """Return what a process, its threads and its children have used, to the nanosecond."""
    processes = [pid, *(each.pid for each in psutil.Process(pid).children(recursive=True))]
    files = [file for each in processes for file in Path(f"/proc/{each}/task").glob("*/schedstat")]
    return sum(int(file.read_text().split()[0]) for file in files) / 1e9


@contextlib.contextmanager
def balanced(facade: str, triton: TritonProcess, folder: Path) -> Iterator[tuple[str, int]]:
    """Give the balancer's address before one facade, which it takes for three, and its process."""
    addresses = {"FACADE_PORT": facade, "HTTP_PORT": triton.http_url, "GRPC_PORT": triton.grpc_url}
    ports = {name: address.rpartition(":")[2] for name, address in addresses.items()}
    settings = {f"HOST_{number}": HOST for number in (1, 2, 3)} | ports | {"LISTEN": BALANCER}
    address = f"{BALANCER}:{ports['FACADE_PORT']}"
    with balancer(settings, address, folder / "haproxy.log", SECONDS_TO_START) as pid:
        yield address, pid


def main() -> None:
    """Measure, and print a line for each process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    repository = ROOT / "model_repository"
    (ensemble,) = choose(ensembles(repository), [ENSEMBLE])
    with TemporaryDirectory(prefix="trident-balancer-") as scratch:
        folder = Path(scratch)
        triton = TritonProcess(
            repository=repository,
            cache_dir=ROOT / ".trident",
            log_file=folder / "triton.log",
            ready_timeout=READY_SECONDS,
        )
        with triton, new_facade(triton, folder) as facade, balanced(facade.url, triton, folder) as (address, process):
            pids = {"HAProxy": process, "facade": facade.pid, "Triton": triton.pid}
            requests = [facade_request(address, ensemble, each) for each in ensemble.items()]
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
                size = len(loop.run(send_once(http(address), requests[0])))
                print(f"{size:,} bytes of JSON an answer, {IN_FLIGHT} requests under way, {os.cpu_count()} cores")
                for _ in range(chosen.rounds):
                    before = {name: processor_seconds(pid) for name, pid in pids.items()}
                    sample = loop.run(closed_loop(http(address), requests, IN_FLIGHT, chosen.seconds, warm_up=0))
                    # The first one is not counted, nor those that were under way at the end.
                    answered = len(sample.times) + IN_FLIGHT
                    used = {name: processor_seconds(pid) - before[name] for name, pid in pids.items()}
                    costs = ", ".join(f"{name} {1000 * each / answered:.3f} ms" for name, each in used.items())
                    print(f"{sample.rate:,.0f} a second; of a processor a request: {costs}")


if __name__ == "__main__":
    main()
