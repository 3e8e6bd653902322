"""Python models' processes are followed, and one that ends or stays halted is told by its model's name."""

import os
import signal
import subprocess
import time

import psutil
import pytest
from trident_server.stubs import HALTED_SECONDS, STUB, Stubs, runs


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def start_stub():
    """Starts a process that is called as Triton's Python backend calls a model's, and waits."""
    started = []

    def start(model: str) -> subprocess.Popen:
        # A shell by another name; nobody waits for it, as Triton waits for none.
        command = [f"/opt/backends/python/{STUB}", "-c", "read line", "model.py", f"{model}_0_0", "DEFAULT"]
        started.append(subprocess.Popen(command, executable="/bin/sh", stdin=subprocess.PIPE))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_for_status(process: subprocess.Popen, status: str) -> None:
    deadline = time.monotonic() + 60
    while psutil.Process(process.pid).status() != status and time.monotonic() < deadline:
        time.sleep(0.01)


def test_one_that_is_killed_is_told_by_its_models_name(start_stub):
    stubs = Stubs(grace=0.0)
    start_stub("qa_tokenizer")
    killed = start_stub("sts_tokenizer")
    stubs.follow(os.getpid())
    assert stubs.ended() is None
    assert runs(killed.pid)
    killed.kill()
    wait_for_status(killed, psutil.STATUS_ZOMBIE)
    assert not runs(killed.pid)
    assert stubs.ended() == f"The process of the Python model 'sts_tokenizer' ended (process {killed.pid})."
    killed.wait()
    assert "'sts_tokenizer' ended" in stubs.ended()


def test_while_models_load_triton_has_time_to_say_why_itself(start_stub):
    clock = Clock()
    stubs = Stubs(grace=5.0, clock=clock)
    killed = start_stub("cola_tokenizer")
    stubs.follow(os.getpid())
    killed.kill()
    wait_for_status(killed, psutil.STATUS_ZOMBIE)
    assert stubs.ended() is None
    clock.now = 4.9
    assert stubs.ended() is None
    clock.now = 5.0
    assert "'cola_tokenizer' ended" in stubs.ended()


def test_one_that_is_halted_for_a_moment_goes_on_and_one_that_stays_so_counts_as_ended(start_stub):
    clock = Clock()
    stubs = Stubs(grace=0.0, clock=clock)
    halted = start_stub("qa_tokenizer")
    stubs.follow(os.getpid())
    halted.send_signal(signal.SIGSTOP)
    wait_for_status(halted, psutil.STATUS_STOPPED)
    assert stubs.ended() is None
    clock.now = HALTED_SECONDS - 0.1
    assert stubs.ended() is None
    halted.send_signal(signal.SIGCONT)
    wait_for_status(halted, psutil.STATUS_SLEEPING)
    assert stubs.ended() is None
    halted.send_signal(signal.SIGSTOP)
    wait_for_status(halted, psutil.STATUS_STOPPED)
    clock.now = 100.0
    assert stubs.ended() is None
    clock.now = 100.0 + HALTED_SECONDS
    assert "'qa_tokenizer' is halted" in stubs.ended()


def test_a_triton_that_is_gone_has_none():
    stubs = Stubs(grace=0.0)
    stubs.follow(2**22 + 1)
    assert stubs.ended() is None
