"""The suite itself: it passes under ``nohup`` and in the background, and looks at nothing that is not its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from trident_server.supervised import _namespace
from trident_server.supervisor import SHARED_MEMORY

FROM_OUTSIDE = (signal.SIGHUP, signal.SIGINT)


def ignored(pid: int) -> set[signal.Signals]:
    """Return which of the signals a process ignores (``SigIgn`` of proc_pid_status(5), a bit for each)."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigIgn:")]
    mask = int(line.split()[1], 16)
    return {number for number in FROM_OUTSIDE if mask & 1 << number - 1}


def test_children_ignore_no_signal():
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            assert ignored(child.pid) == set()
        finally:
            child.kill()


@pytest.mark.slow
def test_children_ignore_no_signal_when_the_caller_of_the_suite_does(tmp_path):
    def ignore():
        for number in FROM_OUTSIDE:
            signal.signal(number, signal.SIG_IGN)

    node = f"{__file__}::{test_children_ignore_no_signal.__name__}"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'inner'}", node]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, preexec_fn=ignore, capture_output=True, text=True, timeout=200, cwd=root)
    assert done.returncode == 0, done.stdout


SLEEPER = "import time; print(flush=True); time.sleep(60)"


@pytest.fixture
def start():
    """Starts a process that does nothing; with or without what names this session."""
    started = []

    def start(environment):
        started.append(subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE, env=environment))
        started[-1].stdout.readline()
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_what_this_session_started_is_left_and_what_others_did_is_not(own_processes, start):
    ours, strangers = start(None), start({})
    left = own_processes.left()
    assert [each for each in left if each.startswith(f"process {ours.pid}: ")]
    assert not [each for each in left if each.startswith(f"process {strangers.pid}: ")]


def test_a_child_that_is_seen_before_it_runs_its_own_program_is_known_all_the_same(own_processes):
    go, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(go, 1)
        os.execve(sys.executable, [sys.executable, "-S", "-c", SLEEPER], os.environ)
    try:
        # A copy of this process, whose environment is from before the session had a name.
        own_processes.left()
        os.write(told, b"x")
        deadline = time.monotonic() + 50
        while not (left := [each for each in own_processes.left() if each.startswith(f"process {child}: ")]):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert "time.sleep(60)" in left[0]
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(go)
        os.close(told)


def test_shared_memory_of_this_sessions_dead_is_left_and_that_of_others_dead_is_not(own_processes, start):
    ours, strangers = start(None), start({})
    own_processes.left()
    regions = [SHARED_MEMORY / f"trident-{_namespace()}-{each.pid}-0-region" for each in (ours, strangers)]
    try:
        for region, process in zip(regions, (ours, strangers), strict=True):
            region.touch()
            process.kill()
            process.wait()
        assert [region in own_processes.regions() for region in regions] == [True, False]
        assert str(regions[0]) in own_processes.left()
    finally:
        for region in regions:
            region.unlink(missing_ok=True)


def test_a_triton_is_counted_once(own_processes, tmp_path):
    named = tmp_path / "tritonserver"
    os.symlink("/bin/sleep", named)
    before = len(own_processes.tritons)
    # The kernel names a process after the file that it was started as.
    with subprocess.Popen([named, "60"]) as process:
        deadline = time.monotonic() + 50
        while len(own_processes.tritons) == before and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        process.kill()
    assert len(own_processes.tritons) == before + 1
    # It was none.
    own_processes.tritons.discard(process.pid)


def test_what_a_triton_forks_is_no_triton(own_processes, tmp_path):
    named = tmp_path / "tritonserver"
    os.symlink(sys.executable, named)
    # Forks, as for the process of a Python model, which keeps the name until it runs its own program.
    fork = "import os, time; pid = os.fork(); print(flush=True); time.sleep(60)"
    before = set(own_processes.tritons)
    with subprocess.Popen([named, "-S", "-c", fork], stdout=subprocess.PIPE, start_new_session=True) as process:
        process.stdout.readline()
        deadline = time.monotonic() + 50
        while process.pid not in own_processes.tritons and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGKILL)
    assert own_processes.tritons - before == {process.pid}
    own_processes.tritons.discard(process.pid)
