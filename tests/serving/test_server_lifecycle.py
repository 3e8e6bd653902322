"""TritonProcess around a real tritonserver: start, ready, refuse, fail with the reason, stop, and leave nothing."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from trident_server import process as triton_process
from trident_server.errors import PathError, PortInUseError, ServerDiedError, ServerStartError
from trident_server.ports import check_free
from trident_server.process import TritonProcess
from trident_server.supervisor import SHARED_MEMORY
from trident_server.wheel import find_tcmalloc

pytestmark = pytest.mark.serving

SECONDS_TO_STOP = 15.0


def ask(url: str, body: object = None) -> dict:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(f"http://{url}", data), timeout=10) as answer:
        return json.load(answer)


def infer(triton: TritonProcess, values: list[float]) -> list[float]:
    tensor = {"name": "IN", "datatype": "FP32", "shape": [1, len(values)], "data": values}
    return ask(f"{triton.http_url}/v2/models/identity/infer", {"inputs": [tensor]})["outputs"][0]["data"]


def family(pid: int) -> list[psutil.Process]:
    """A process, its supervisor and its children."""
    server = psutil.Process(pid)
    return [server, psutil.Process(server.ppid()), *server.children(recursive=True)]


def regions_of(owner: int) -> set[str]:
    return {region.name for region in SHARED_MEMORY.glob(f"trident-*-{owner}-*")}


@pytest.fixture
def new_regions():
    """Shared memory of this process that was not there when the test began: the session's Triton has some as well."""
    before = regions_of(os.getpid())
    return lambda: regions_of(os.getpid()) - before


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until_gone(processes: list[psutil.Process], seconds: float = 120) -> None:
    # Not psutil.wait_procs, which would take the exit status of our own children away from whoever started them.
    deadline = time.monotonic() + seconds
    while alive := [each for each in processes if is_alive(each)]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.05)


def test_it_answers_stops_without_a_trace_and_can_be_started_again(new_triton, identity_repository, new_regions):
    loaded: list[str] = []
    triton = new_triton(identity_repository, on_model_loaded=loaded.append, stop_grace=SECONDS_TO_STOP)
    for times in (1, 2):
        with triton:
            assert infer(triton, [1.5, -2.0]) == [1.5, -2.0]
            assert loaded == ["identity"] * times
            processes = family(triton.pid)
            assert len(processes) == 3, "supervisor, tritonserver and the model's stub"
            assert triton.pid in {each.pid for each in processes if each.name() == "tritonserver"}
            assert len(new_regions()) >= 1
            triton.check()
        wait_until_gone(processes, 0)
        assert not new_regions()
        check_free("127.0.0.1", triton.ports)


@pytest.mark.skipif(not find_tcmalloc(), reason="no tcmalloc (Debian's package libtcmalloc-minimal4)")
def test_triton_and_its_models_take_memory_from_tcmalloc(identity_triton):
    server = psutil.Process(identity_triton.pid)
    for process in (server, *server.children(recursive=True)):
        assert any("libtcmalloc" in each.path for each in process.memory_maps()), process


def test_it_listens_on_its_host_and_its_three_ports_alone(identity_triton):
    connections = psutil.Process(identity_triton.pid).net_connections()
    listening = [each.laddr for each in connections if each.status == "LISTEN"]
    # gRPC binds the address as an IPv6 socket would see it.
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
    assert {address.port for address in listening} == set(identity_triton.ports.values())
    with urllib.request.urlopen(f"http://{identity_triton.metrics_url}/metrics", timeout=10) as answer:
        assert b"nv_inference_count" in answer.read()


@pytest.mark.parametrize("path", ["v2/systemsharedmemory/region/x/register", "v2/logging", "v2/trace/setting"])
def test_apis_that_reach_outside_the_models_are_closed(identity_triton, path):
    with pytest.raises(urllib.error.HTTPError) as refusal:
        ask(f"{identity_triton.http_url}/{path}", {"key": "/x", "offset": 0, "byte_size": 1})
    assert refusal.value.code == 403
    with pytest.raises(urllib.error.HTTPError):
        ask(f"{identity_triton.http_url}/v2/repository/models/identity/unload", {})
    assert infer(identity_triton, [1.0]) == [1.0]


def test_a_model_that_fails_says_why_and_leaves_nothing(new_triton, identity_repository, add_model, new_regions):
    add_model("broken", 'raise ValueError("no such vocabulary: 어휘")')
    triton = new_triton(identity_repository)
    with pytest.raises(ServerStartError) as failure:
        triton.start()
    message = str(failure.value)
    assert "broken: Internal: ValueError: no such vocabulary: 어휘" in message
    assert "broken/1/model.py(7): initialize" in message
    assert "identity" not in message.replace(str(identity_repository), "")
    assert str(triton.log_file) in message
    assert not psutil.pid_exists(triton.pid)
    assert not new_regions()


def test_a_model_that_does_not_come_up_in_time_is_stopped(new_triton, identity_repository, add_model, new_regions):
    add_model("slow", "import time; time.sleep(120)")
    triton = new_triton(identity_repository, ready_timeout=1, stop_grace=1)
    started = time.monotonic()
    with pytest.raises(ServerStartError, match=r"Triton was not ready after 1 s\."):
        triton.start()
    assert time.monotonic() - started < 60
    assert not psutil.pid_exists(triton.pid)
    assert not new_regions()


def test_a_model_whose_process_ends_while_it_is_loaded_is_named(
    new_triton, identity_repository, add_model, new_regions, monkeypatch
):
    monkeypatch.setattr(triton_process, "STUB_GRACE_SECONDS", 1.0)
    add_model("killed", "import os, time; time.sleep(4); os.kill(os.getpid(), 9)")
    triton = new_triton(identity_repository, stop_grace=1)
    with pytest.raises(ServerStartError, match=r"The process of the Python model 'killed' ended \(process \d+\)\."):
        triton.start()
    assert not psutil.pid_exists(triton.pid)
    assert not new_regions()


def test_a_wrong_argument_says_so(new_triton, identity_repository):
    with pytest.raises(ServerStartError, match="exited with status 1 before it was ready") as failure:
        new_triton(identity_repository, extra_args=["--colour=blue"]).start()
    assert "unrecognized option '--colour=blue'" in str(failure.value)


def test_a_path_that_triton_breaks_on_stops_it_before_anything_starts(new_triton, identity_repository, tmp_path):
    spaced = shutil.copytree(identity_repository, tmp_path / "my models")
    for triton in (new_triton(spaced), new_triton(identity_repository, cache_dir=tmp_path / "my cache")):
        with pytest.raises(PathError, match="because of ' ' in that path"):
            triton.start()
        assert not triton.log_file.exists()


def test_a_taken_port_stops_it_before_anything_starts(new_triton, identity_repository):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        triton = new_triton(identity_repository, grpc_port=port)
        with pytest.raises(PortInUseError, match=rf"Port {port} .*--grpc-port"):
            triton.start()
    assert not triton.log_file.exists()


def test_two_servers_on_the_same_ports_at_once_are_not_taken_for_each_other(
    new_triton, identity_repository, new_regions
):
    first = new_triton(identity_repository)
    servers = [first, new_triton(identity_repository, **first.ports)]
    together = threading.Barrier(2)

    def start(triton: TritonProcess) -> bool:
        together.wait()
        try:
            triton.start()
        except (ServerStartError, PortInUseError):
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        started = list(pool.map(start, servers))
    assert sorted(started) == [False, True]
    winner = servers[started.index(True)]
    winner.check()
    assert infer(winner, [1.0]) == [1.0]
    # Without grace it leaves nothing either.
    processes = family(winner.pid)
    assert new_regions()
    winner.stop()
    wait_until_gone(processes, 0)
    assert not new_regions()


def test_two_servers_at_once_share_one_assembly_and_leave_nothing_when_they_or_their_supervisors_are_killed(
    new_triton, identity_repository, new_regions, tmp_path
):
    servers = [new_triton(identity_repository, cache_dir=tmp_path / "cache") for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(TritonProcess.start, servers))
    assert [infer(server, [float(number)]) for number, server in enumerate(servers)] == [[0.0], [1.0]]
    [assembly] = (tmp_path / "cache" / "backends").iterdir()
    copied = [
        file for file in assembly.rglob("*") if file.is_file() and not file.is_symlink() and file.suffix != ".pyc"
    ]
    assert sum(file.stat().st_size for file in copied) < 2_000_000

    crashed, unsupervised = servers
    of_both, processes = new_regions(), family(crashed.pid)
    os.kill(crashed.pid, signal.SIGKILL)
    wait_until_gone(processes)
    with pytest.raises(ServerDiedError, match=r"Triton was killed by SIGKILL\."):
        crashed.check()
    assert new_regions() < of_both

    assert infer(unsupervised, [2.0]) == [2.0]
    processes = family(unsupervised.pid)
    processes[1].kill()
    wait_until_gone(processes)
    unsupervised.stop()
    assert not new_regions()


PARENT = """
import sys, time
from pathlib import Path
from trident_server.process import TritonProcess

with TritonProcess(repository=Path(sys.argv[1]), cache_dir=Path(sys.argv[2])):
    time.sleep(600)
"""


def test_a_parent_killed_while_models_load_leaves_nothing(identity_repository, add_model, share_backends, tmp_path):
    add_model("slow", "import time; time.sleep(120)")
    command = [sys.executable, "-c", PARENT, str(identity_repository), str(share_backends(tmp_path))]
    with subprocess.Popen(command) as parent:
        log = tmp_path / "triton.log"
        deadline = time.monotonic() + 120
        while not (log.exists() and "slow" in log.read_text()):
            assert parent.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        supervisor, *rest = psutil.Process(parent.pid).children(recursive=True)
        parent.kill()
    wait_until_gone([supervisor, *rest])
    assert not regions_of(parent.pid)
