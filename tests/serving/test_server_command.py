"""``trident-serve`` as a person at a terminal uses it."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from trident_server.backends.pytorch import kernels
from trident_server.ports import check_free, free_ports
from trident_server.supervisor import SHARED_MEMORY

pytestmark = pytest.mark.serving

MODEL_REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"
CHECK = MODEL_REPOSITORY.parent / "training" / "trident_training" / "export" / "check.txt"
NETWORKS = {"cola_small": "cola_small_classifier", "qa_small": "qa_small_reader"}
#: A model's ``initialize`` after which its answers take a while.
SLOW = "import time; at_once = self.execute; self.execute = lambda asked: (time.sleep(0.2), at_once(asked))[1]"
COMMAND = [str(Path(sys.executable).with_name("trident-serve"))]


class Server:
    """A running ``trident-serve`` on ports and in a directory of its own."""

    def __init__(self, repository: Path, cache_dir: Path, *options: str):
        names = ["port", "http_port", "grpc_port", "metrics_port"]
        self.ports = dict(zip(names, free_ports(4), strict=True))
        self.cache_dir = cache_dir
        arguments = [f"--repository={repository}", f"--cache-dir={cache_dir}"]
        arguments += [f"--{name.replace('_', '-')}={port}" for name, port in self.ports.items()]
        self.process = subprocess.Popen(
            [*COMMAND, *arguments, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.children: list[psutil.Process] = []

    def read_until(self, text: str) -> str:
        seen = ""
        for line in self.process.stdout:
            seen += line
            if text in line:
                self.children = psutil.Process(self.process.pid).children(recursive=True)
                return seen
        raise AssertionError(f"never said {text!r}: {seen} {self.process.stderr.read()}")

    def child(self, name: str) -> psutil.Process:
        [found] = [
            each for each in self.children if name in " ".join(each.cmdline()[:3]) and "-I" not in each.cmdline()
        ]
        return found

    def regions(self) -> list[Path]:
        """Return its shared memory."""
        return list(SHARED_MEMORY.glob(f"trident-*-{self.process.pid}-*"))

    def stop(self, number: signal.Signals, times: int = 1) -> None:
        """Send the signal, as often as someone impatient does, and fail unless it stops without a trace."""
        for _ in range(times):
            self.process.send_signal(number)
            time.sleep(0.1)
        assert self.end() == (0, "Stopping ...\nStopped.\n", "")

    def end(self, seconds: float = 120) -> tuple[int, str, str]:
        output, errors = self.process.communicate(timeout=seconds)
        assert not [each for each in self.children if each.is_running()]
        assert not self.regions()
        check_free("127.0.0.1", self.ports)
        return self.process.returncode, output, errors


@pytest.fixture
def serve(tmp_path, share_backends):
    started: list[Server] = []

    def serve(repository: Path, *options: str, cache_dir: Path = tmp_path / "run") -> Server:
        started.append(Server(repository, share_backends(cache_dir), *options))
        return started[-1]

    yield serve
    for server in started:
        if server.process.poll() is None:
            server.process.terminate()
            server.process.communicate()


def wait_until_ready(port: int) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            get(f"http://127.0.0.1:{port}/v2/health/ready")
            return
        except OSError:
            assert time.monotonic() < deadline, "never ready again"
            time.sleep(0.1)


def get(url: str) -> dict:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.loads(answer.read() or b"{}")


def test_without_a_compiler_it_serves_all_the_same_and_says_that_it_is_slower(
    serve, identity_repository, tmp_path, monkeypatch
):
    commands = tmp_path / "commands"
    commands.mkdir()
    for folder in os.environ["PATH"].split(":"):
        for each in Path(folder).glob("*"):
            if each.name not in {"cc", "gcc"} and not (commands / each.name).is_symlink():
                (commands / each.name).symlink_to(each)
    monkeypatch.setenv("PATH", str(commands))
    server = serve(identity_repository, "--triton-only")
    said = server.read_until("Ctrl-C stops it.")
    assert "slower" in said
    assert "there is no C compiler" in said
    get(f"http://127.0.0.1:{server.ports['http_port']}/v2/health/ready")
    server.stop(signal.SIGTERM)


def test_a_stop_under_load_loses_nothing_that_triton_has_begun(serve, identity_repository, add_model):
    add_model("slow", SLOW)
    server = serve(identity_repository, "--triton-only")
    server.read_until("Ctrl-C stops it.")
    port = server.ports["http_port"]
    body = json.dumps({"inputs": [{"name": "IN", "datatype": "FP32", "shape": [1, 1], "data": [1.5]}]})
    answered, lost = [], []

    def ask() -> None:
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            try:
                connection.connect()
                connection.request("POST", "/v2/models/slow/infer", body)
                asked = time.monotonic()
            except OSError:
                return
            try:
                reply = connection.getresponse()
                assert reply.status == 200, reply.read()
                assert json.load(reply)["outputs"][0]["data"] == [1.5]
                answered.append((asked, time.monotonic()))
            except (OSError, http.client.HTTPException, AssertionError) as error:
                lost.append((asked, repr(error)))
            finally:
                connection.close()

    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(ask) for _ in range(8)]
        while len(answered) < 8 and not any(each.done() for each in asking):
            time.sleep(0.01)
        told_to_stop = time.monotonic()
        server.stop(signal.SIGTERM)
    assert all(each.exception() is None for each in asking)
    assert any(asked < told_to_stop < ended for asked, ended in answered)
    # Triton closes its door at once: what it has not read yet is reset, and what comes later.
    assert [error for asked, error in lost if asked < told_to_stop - 0.1] == []


def test_an_interrupt_while_models_load_leaves_nothing(serve, identity_repository, add_model):
    add_model("slow", "import time; time.sleep(120)")
    server = serve(identity_repository, "--triton-only")
    server.read_until("loaded identity")
    server.process.send_signal(signal.SIGINT)
    assert server.end()[0] == 0


def test_killed_with_sigkill_it_leaves_nothing(serve, identity_repository):
    server = serve(identity_repository, "--triton-only")
    server.read_until("Ctrl-C stops it.")
    assert server.regions()
    server.process.kill()
    server.process.wait()
    deadline = time.monotonic() + 120
    while any(each.is_running() for each in server.children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert server.end()[0] == -signal.SIGKILL


def test_a_directory_has_one_server_and_stop_ends_that_and_no_other(serve, identity_repository, tmp_path):
    server = serve(identity_repository, "--triton-only")
    other = serve(identity_repository, "--triton-only", "--isolated", cache_dir=tmp_path / "other")
    said = server.read_until("Ctrl-C stops it.")
    assert "loaded identity" in said
    assert f"Triton is ready: http://127.0.0.1:{server.ports['http_port']}" in said
    assert f"gRPC 127.0.0.1:{server.ports['grpc_port']}  metrics 127.0.0.1:{server.ports['metrics_port']}" in said
    assert str(server.cache_dir / "triton.log") in said
    # Whoever wants processes of their own need not be told that they are slower.
    assert "slower" not in said + other.read_until("Ctrl-C stops it.")
    status, _, errors = serve(identity_repository, "--triton-only").end()
    assert status == 1
    assert f"already runs with {server.cache_dir} (process {server.process.pid})" in errors
    get(f"http://127.0.0.1:{server.ports['http_port']}/v2/health/ready")
    stop = subprocess.run([*COMMAND, "--stop", f"--cache-dir={server.cache_dir}"], capture_output=True, text=True)
    assert (stop.returncode, stop.stdout) == (0, f"Stopped trident-serve (process {server.process.pid}).\n")
    assert server.end()[0] == 0
    assert other.process.poll() is None
    stop = subprocess.run([*COMMAND, "--stop", f"--cache-dir={server.cache_dir}"], capture_output=True, text=True)
    assert (stop.returncode, stop.stdout) == (0, f"No trident-serve runs with {server.cache_dir}.\n")
    other.stop(signal.SIGHUP)


def test_a_taken_facade_port_is_named_before_triton_starts(serve, identity_repository, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        server = serve(identity_repository, f"--port={port}")
        output, errors = server.process.communicate(timeout=60)
    assert server.process.returncode == 1
    assert output == ""
    assert re.fullmatch(
        rf"Port {port} on 127\.0\.0\.1 is in use by .* \(process {os.getpid()}\): .* --port \(TRIDENT_PORT\)\.\n",
        errors,
    )
    assert not (server.cache_dir / "triton.log").exists()


def test_a_model_that_fails_is_told_with_its_reason(serve, identity_repository, add_model):
    add_model("broken", "raise ValueError('no such vocabulary')")
    status, output, errors = serve(identity_repository, "--triton-only").end()
    assert status == 1
    assert "ready" not in output
    assert "broken: Internal: ValueError: no such vocabulary" in errors
    assert "Traceback (most recent call last)" not in errors


def test_a_triton_that_died_and_one_whose_python_model_did_are_started_again_twice_and_no_more(
    serve, identity_repository
):
    server = serve(identity_repository, "--triton-only", "--restarts=2")
    server.read_until("Ctrl-C stops it.")
    model_ended = "The process of the Python model 'identity' ended"
    # A killed Triton takes its models with it, and on a busy machine they may be missed first.
    killed = rf"Triton was killed by SIGKILL\.|{model_ended}"
    for times, (child, reason) in enumerate(
        [("bin/tritonserver", killed), ("triton_python_backend_stub", model_ended)], 1
    ):
        server.child(child).kill()
        said = server.read_until("Triton is ready again.")
        assert re.search(reason, said)
        assert f"({times} of 2)" in said
        get(f"http://127.0.0.1:{server.ports['http_port']}/v2/health/ready")
    server.child("triton_python_backend_stub").kill()
    status, _, errors = server.end()
    assert status == 1
    assert model_ended in errors


def test_who_read_what_it_prints_may_go_and_who_takes_its_port_may_come_and_it_serves_on(serve, identity_repository):
    server = serve(identity_repository, "--triton-only")
    server.read_until("Ctrl-C stops it.")
    server.process.stdout.close()
    server.process.stdout = None
    triton, log = server.child("bin/tritonserver"), server.cache_dir / "triton.log"
    triton.kill()
    triton.wait(60)
    port = server.ports["http_port"]
    with contextlib.ExitStack() as taken:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                taken.enter_context(socket.create_server(("127.0.0.1", port)))
                break
            time.sleep(0.02)
        # Longer than the first pause: a start fails meanwhile.
        time.sleep(2.5)
        assert server.process.poll() is None
    wait_until_ready(port)
    server.children = psutil.Process(server.process.pid).children(recursive=True)
    # What tells of the death is not lost by the start after it.
    assert log.with_name("triton.log.1").stat().st_size > 0
    server.process.send_signal(signal.SIGTERM)
    assert server.end()[::2] == (0, "")


def test_a_part_of_the_repository_is_served_alone(serve, tmp_path):
    server = serve(MODEL_REPOSITORY, "--models", "cola_small, qa_small")
    said = server.read_until("Ctrl-C stops it.")
    assert "loaded cola_small_classifier" in said
    assert "sts" not in said
    facade = f"http://127.0.0.1:{server.ports['port']}"
    listed = {model["name"]: model["export"] for model in get(f"{facade}/models")["models"]}
    reports = {name: MODEL_REPOSITORY / network / "1" / "export.json" for name, network in NETWORKS.items()}
    told = ("dtype", "refused", "parity", "parity_on_text", "speed")
    noted = {name: json.loads(file.read_text()) for name, file in reports.items()}
    assert listed == {name: {key: report[key] for key in told} for name, report in noted.items()}
    assert all(each["speed"]["tokens_per_second"] > 0 for each in listed.values())
    # Both read English, and few bits are judged by that: a reader's by each line behind another one and behind a part.
    english = [line for line in CHECK.read_text("utf-8").splitlines() if line.isascii()]
    judged = {name: found["sequences"] for name, each in listed.items() if (found := each["parity_on_text"])}
    assert judged.items() <= {"cola_small": len(english), "qa_small": 2 * len(english)}.items()
    # Operators in C compute what is no bfloat16; layers in int8 as well, where the processor adds up products of bytes.
    log = (tmp_path / "run" / "triton.log").read_text()
    computed = re.findall(r"model '(\w+)_(?:classifier|reader)': .* in C (\d+) attentions and (\d+) layers", log)
    processor = kernels._processor()
    assert {name: (int(attentions) > 0, int(layers) > 0) for name, attentions, layers in computed} == {
        name: (
            processor is not None and each["dtype"] != "bfloat16",
            processor == "avx512_vnni" and each["dtype"] == "int8",
        )
        for name, each in listed.items()
    }
    index = f"http://127.0.0.1:{server.ports['http_port']}/v2/models/sts/ready"
    with pytest.raises(urllib.error.HTTPError):
        get(index)
    get(f"{facade}/health/ready")
    server.stop(signal.SIGINT, times=5)
    unknown = serve(MODEL_REPOSITORY, "--models", "cola,grammar")
    status, _, errors = unknown.end()
    assert status == 1
    known = "cola, cola_small, qa, qa_ko, qa_small, rerank, sts, sts_base, sts_ko"
    assert f"holds no models called 'grammar' (there are: {known})." in " ".join(errors.split())


def test_with_keys_only_the_facade_is_reached_from_other_machines_and_its_death_takes_triton_with_it(serve, tmp_path):
    (tmp_path / "keys").write_text("open sesame\n")
    options = ["--models=cola_small", "--host=0.0.0.0", "--restarts=0", f"--api-keys-file={tmp_path / 'keys'}"]
    server = serve(MODEL_REPOSITORY, *options)
    said = server.read_until("Ctrl-C stops it.")
    address = f"http://127.0.0.1:{server.ports['port']}"
    assert f"Trident is ready: {address}" in said
    assert f"{address}/docs" in said
    assert get(f"{address}/health/ready") == {"status": "ready"}
    with pytest.raises(urllib.error.HTTPError) as refusal:
        get(f"{address}/models")
    assert refusal.value.code == 401
    triton = server.child("tritonserver").net_connections()
    listening = {each.laddr.ip.removeprefix("::ffff:") for each in triton if each.status == "LISTEN"}
    assert listening == {"127.0.0.1"}
    server.child("uvicorn").kill()
    status, _, errors = server.end()
    assert status == 1
    assert "The facade was killed by SIGKILL." in errors
    assert str(server.cache_dir / "facade.log") in errors
