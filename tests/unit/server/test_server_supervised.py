"""A supervised child leaves nothing, however it, its supervisor or its parent ends. The child here is any program."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
from trident_server import supervised
from trident_server.errors import FileError
from trident_server.supervised import SupervisedProcess, describe_exit, new_shm_prefix, remove_abandoned_shared_memory

SHARED_MEMORY = Path("/dev/shm")
# Starts a grandchild that nobody else would stop, leaves shared memory, and says when it is set up.
SERVER = """
import os, signal, subprocess, sys, time
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(f"/dev/shm/{sys.argv[1]}region", "w").close()
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "tidy" in sys.argv:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
print(grandchild.pid, flush=True)
if "exits" in sys.argv:
    sys.exit(7)
time.sleep(600)
"""


def wait_for(condition, seconds=120.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)
    return found


def lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


class Server:
    def __init__(self, folder: Path, *behaviour: str, grace: float = 60.0):
        self.log_file = folder / "logs" / "server.log"
        self.shm_prefix = new_shm_prefix()
        self.process = SupervisedProcess(
            [sys.executable, "-c", SERVER, self.shm_prefix, *behaviour],
            log_file=self.log_file,
            environment=dict(os.environ),
            grace=grace,
            shm_prefix=self.shm_prefix,
        )
        self.grandchild = int(wait_for(self.log_file.read_text))

    def has_left_nothing(self) -> bool:
        return not (
            lives(self.process.pid) or lives(self.grandchild) or list(SHARED_MEMORY.glob(f"{self.shm_prefix}*"))
        )


@pytest.fixture
def start(tmp_path):
    started: list[Server] = []

    def start(*behaviour: str, **options: float) -> Server:
        started.append(Server(tmp_path, *behaviour, **options))
        return started[-1]

    yield start
    for server in started:
        server.process.stop()
        assert server.has_left_nothing()


def test_it_runs_and_stops_with_everything_it_started(start):
    server = start()
    assert server.process.poll() is None
    assert lives(server.process.pid)
    assert lives(server.grandchild)
    assert list(SHARED_MEMORY.glob(f"{server.shm_prefix}*"))
    server.process.stop()
    assert server.has_left_nothing()
    assert describe_exit(server.process.poll()) == "was killed by SIGTERM"
    server.process.stop()


def test_a_child_that_ignores_sigterm_is_killed_after_its_grace(start):
    server = start("stubborn", grace=0.5)
    asked = time.monotonic()
    server.process.stop()
    assert 0.5 <= time.monotonic() - asked < 30
    assert describe_exit(server.process.poll()) == "was killed by SIGKILL"
    assert server.has_left_nothing()


def test_a_child_that_is_halted_is_stopped_as_any_other(start):
    server = start("tidy", grace=20.0)
    for each in (server.process.pid, server.grandchild):
        os.kill(each, signal.SIGSTOP)
    server.process.stop()
    assert describe_exit(server.process.poll()) == "exited with status 5"
    assert server.has_left_nothing()


def test_a_child_that_exits_takes_what_it_started_with_it(start):
    server = start("exits")
    assert wait_for(lambda: server.process.poll() is not None)
    assert server.process.poll() == 7
    assert server.has_left_nothing()


def test_a_child_that_crashes_takes_what_it_started_with_it(start):
    server = start()
    os.kill(server.process.pid, signal.SIGKILL)
    assert wait_for(lambda: server.process.poll() is not None)
    assert describe_exit(server.process.poll()) == "was killed by SIGKILL"
    assert server.has_left_nothing()


def test_a_killed_supervisor_takes_the_child_with_it(start):
    server = start()
    [watcher] = [each for each in psutil.Process().children() if each.pid == psutil.Process(server.process.pid).ppid()]
    watcher.kill()
    wait_for(lambda: not lives(server.process.pid))
    assert server.process.poll() == -signal.SIGKILL
    # Nobody is left to kill what a child leaves that does not watch its own parent, as Triton's stubs do.
    os.kill(server.grandchild, signal.SIGKILL)
    wait_for(lambda: not lives(server.grandchild))


def test_the_terminals_interrupt_does_not_reach_it(start):
    server = start()
    assert os.getsid(server.process.pid) == server.process.pid
    assert signal.SIGINT not in ignored_signals(server.process.pid)


def ignored_signals(pid: int) -> set[int]:
    [line] = [each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("SigIgn")]
    mask = int(line.split()[1], 16)
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


def test_a_program_that_cannot_start_says_so_in_the_log(tmp_path):
    process = SupervisedProcess(
        ["/nowhere/tritonserver"], log_file=tmp_path / "log", environment={}, grace=1, shm_prefix=new_shm_prefix()
    )
    assert wait_for(lambda: process.poll() is not None)
    assert process.poll() != 0
    assert "No such file or directory: '/nowhere/tritonserver'" in (tmp_path / "log").read_text()
    process.stop()


def test_a_log_that_is_a_link_stays_one_and_a_device_is_written_to(tmp_path):
    (tmp_path / "elsewhere").write_text("of the last start\n")
    log = tmp_path / "log"
    log.symlink_to("elsewhere")
    for each in (log, Path("/dev/null")):
        SupervisedProcess(["true"], log_file=each, environment={}, grace=1, shm_prefix=new_shm_prefix()).stop()
    assert log.is_symlink()
    assert (tmp_path / "elsewhere.1").read_text() == "of the last start\n"
    assert not Path("/dev/null.1").exists()


def test_a_log_begins_empty_and_may_be_cut_off_while_it_is_written(tmp_path):
    log = tmp_path / "log"
    log.write_text("of the last start\n")
    kept = tmp_path / "log.1"
    kept.write_text("of the start before it\n")
    child = "echo first; while test -s $0; do sleep 0.02; done; echo second"
    process = SupervisedProcess(
        ["sh", "-c", child, str(log)], log_file=log, environment=dict(os.environ), grace=1, shm_prefix=new_shm_prefix()
    )
    assert wait_for(log.read_text) == "first\n"
    assert kept.read_text() == "of the last start\n"
    os.truncate(log, 0)
    assert wait_for(log.read_bytes) == b"second\n"
    process.stop()


def test_a_log_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(FileError, match=rf"^Cannot use {re.escape(str(tmp_path))}: Is a directory\.$"):
        SupervisedProcess(["true"], log_file=tmp_path, environment={}, grace=1, shm_prefix=new_shm_prefix())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_dead_parent_leaves_nothing(tmp_path, number):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, SERVER, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout
    pid, prefix = parent.stdout.readline().split()
    grandchild = int(wait_for((tmp_path / "log").read_text))
    parent.send_signal(number)
    parent.wait()
    parent.stdout.close()
    wait_for(lambda: not lives(int(pid)) and not lives(grandchild))
    wait_for(lambda: not list(SHARED_MEMORY.glob(f"{prefix}*")))


PARENT = textwrap.dedent(
    """
    import os, sys, time
    from pathlib import Path
    from trident_server.supervised import SupervisedProcess, new_shm_prefix
    prefix = new_shm_prefix()
    child = SupervisedProcess([sys.executable, "-c", sys.argv[1], prefix], log_file=Path(sys.argv[2]),
                              environment=dict(os.environ), grace=5, shm_prefix=prefix)
    # A fork that outlives its parent and holds a copy of everything it had open.
    if os.fork() == 0:
        os.close(1)
        time.sleep(1)
        os._exit(0)
    print(child.pid, prefix, flush=True)
    time.sleep(600)
    """
)


def test_abandoned_shared_memory_is_removed_and_other_peoples_is_not():
    namespace = supervised._namespace()
    ended = subprocess.Popen(["true"])
    ended.wait()
    abandoned = SHARED_MEMORY / f"trident-{namespace}-{ended.pid}-0-region"
    foreign = [
        SHARED_MEMORY / name
        for name in (
            f"trident-{namespace}-{os.getpid()}-0-of-a-living-owner",
            f"trident-{namespace + 1}-{ended.pid}-0-of-another-container",
            f"trident-{namespace}-notes",
            f"triton-{ended.pid}-0-of-somebody-else",
        )
    ]
    for region in (abandoned, *foreign):
        region.touch()
    try:
        remove_abandoned_shared_memory()
        assert not abandoned.exists()
        assert all(region.exists() for region in foreign)
    finally:
        for region in foreign:
            region.unlink()


def test_abandoned_shared_memory_of_another_user_is_left_alone(monkeypatch):
    ended = subprocess.Popen(["true"])
    ended.wait()
    abandoned = SHARED_MEMORY / f"trident-{supervised._namespace()}-{ended.pid}-0-region"
    abandoned.touch()
    try:
        with monkeypatch.context() as another_user:
            another_user.setattr(os, "geteuid", lambda: abandoned.stat().st_uid + 1)
            remove_abandoned_shared_memory()
            supervised.supervisor.remove_shared_memory(abandoned.name)
        assert abandoned.exists()
        remove_abandoned_shared_memory()
        assert not abandoned.exists()
    finally:
        abandoned.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("status", "words"), [(0, "exited with status 0"), (139, "was killed by SIGSEGV"), (-9, "was killed by SIGKILL")]
)
def test_exit_statuses_are_put_into_words(status, words):
    assert describe_exit(status) == words
