"""HAProxy as ``docker/haproxy`` has it, the machine's or unpacked from Debian's package."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
from debian import environment, find

CONFIGURATION = Path(__file__).resolve().parents[2] / "docker" / "haproxy" / "haproxy.cfg"


@contextlib.contextmanager
def balancer(settings: Mapping[str, str], facade: str, log: Path, seconds: float) -> Iterator[int]:
    """Give the process id of a balancer that knows that hosts are there; it is ended with the block.

    Args:
        settings: the configuration's variables.
        facade: ``host:port`` at which it listens for facades.
        log: where it writes what it says.
        seconds: how long hosts may take to be there.

    Raises:
        RuntimeError: it ended, before the block did or in it, or no host was there in time; carries what it said.
    """
    program = find("haproxy", "haproxy")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, "-db", "-f", CONFIGURATION],
            env=environment(program) | settings,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + seconds
        while not _is_ready(facade):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text())
            time.sleep(0.2)
        yield process.pid
        if process.poll() is not None:
            raise RuntimeError(log.read_text())
    finally:
        process.kill()
        process.wait()


def _is_ready(facade: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"http://{facade}/health/ready", timeout=5, trust_env=False).status_code == 200
    return False
