import os
import signal
import subprocess
import sys
import time

import pytest
from trident_server import pidfile
from trident_server.errors import AlreadyRunningError, NotRunningError, ServerError

HOLDER = """
import signal, sys, time
from pathlib import Path
from trident_server import pidfile
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with pidfile.hold(Path(sys.argv[1])):
    print("holds", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    started = []

    def start(*behaviour: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLDER, str(tmp_path), *behaviour]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout.readline() == "holds\n"
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_one_server_per_directory(tmp_path, holder):
    server = holder()
    with (
        pytest.raises(AlreadyRunningError, match=rf"\(process {server.pid}\): stop it with .*--stop --cache-dir"),
        pidfile.hold(tmp_path),
    ):
        pass
    with pidfile.hold(tmp_path / "other"):
        pass


def test_stop_ends_the_holder_and_frees_the_directory(tmp_path, holder):
    server = holder()
    assert pidfile.stop(tmp_path) == server.pid
    assert server.wait(60) == -signal.SIGTERM
    with pidfile.hold(tmp_path):
        pass


def test_nothing_to_stop_is_said(tmp_path):
    with pytest.raises(NotRunningError, match="No trident-serve runs"):
        pidfile.stop(tmp_path / "never used")
    with pidfile.hold(tmp_path):
        pass
    with pytest.raises(NotRunningError):
        pidfile.stop(tmp_path)


def test_a_killed_holder_is_not_running_and_keeps_nobody_out(tmp_path, holder):
    server = holder()
    server.kill()
    server.wait()
    with pytest.raises(NotRunningError, match=rf"process {server.pid}, which did, is gone"):
        pidfile.stop(tmp_path)
    with pidfile.hold(tmp_path):
        pass


def test_another_users_server_is_left_to_them(tmp_path, holder, monkeypatch):
    server = holder()

    def refuse(pid, number):
        raise PermissionError

    with monkeypatch.context() as changed:
        changed.setattr(os, "kill", refuse)
        with pytest.raises(ServerError, match=rf"\(process {server.pid}\) is another user's"):
            pidfile.stop(tmp_path)
    assert pidfile.stop(tmp_path) == server.pid


def test_a_stranger_with_the_same_process_id_is_left_alone(tmp_path):
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        (tmp_path / pidfile.NAME).write_text(f"{stranger.pid} 12345\n")
        with pytest.raises(NotRunningError):
            pidfile.stop(tmp_path)
        time.sleep(0.1)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("content", ["", "garbage", "1", "1 2 3", "-1 5"])
def test_a_damaged_file_stops_nobody(tmp_path, content):
    (tmp_path / pidfile.NAME).write_text(content)
    with pytest.raises(NotRunningError):
        pidfile.stop(tmp_path)


def test_a_server_that_does_not_stop_is_said(tmp_path, holder):
    server = holder("stubborn")
    with pytest.raises(ServerError, match=rf"process {server.pid}\) did not stop within 0.2 s"):
        pidfile.stop(tmp_path, timeout=0.2)


def test_the_file_names_this_process_while_it_holds(tmp_path):
    with pidfile.hold(tmp_path):
        assert (tmp_path / pidfile.NAME).read_text().split()[0] == str(os.getpid())
