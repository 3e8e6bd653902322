"""A set of models is exchanged while it is asked: nothing is lost, and no answer is of two versions."""

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
from chaos.server import OwnServer
from trident_client import TridentClient
from trident_server.cli import app
from typer.testing import CliRunner

pytestmark = pytest.mark.serving

TENSORS = """
max_batch_size: 64
input [ {{ name: "{0}" data_type: {1} dims: [ 1 ] }} ]
output [
  {{ name: "{2}" data_type: TYPE_FP32 dims: [ 1 ] }},
  {{ name: "TRUNCATED_TOKENS" data_type: TYPE_INT32 dims: [ 1 ] }},
  {{ name: "UNKNOWN_TOKENS" data_type: TYPE_INT32 dims: [ 1 ] }}
]
"""
PART = """backend: "python"
dynamic_batching { }
instance_group [ { count: 1 kind: KIND_CPU } ]
parameters { key: "IN_PROCESS" value: { string_value: "true" } }
"""
ENSEMBLE = """platform: "ensemble"
ensemble_scheduling { step [
  {
    model_name: "cola_tokenizer" model_version: -1
    input_map { key: "TEXT" value: "TEXT" } output_map { key: "NUMBER" value: "number" }
  },
  {
    model_name: "cola_classifier" model_version: -1
    input_map { key: "NUMBER" value: "number" } output_map { key: "PROBABILITY" value: "PROBABILITY" }
    output_map { key: "TRUNCATED_TOKENS" value: "TRUNCATED_TOKENS" }
    output_map { key: "UNKNOWN_TOKENS" value: "UNKNOWN_TOKENS" }
  }
] }
"""
#: Adds what says which revision it is to what the one before it said.
MODEL = """
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        time.sleep(0.01)
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        given = pb_utils.get_input_tensor_by_name(request, INPUT).as_numpy()
        number = np.zeros(given.shape, np.float32) if given.dtype == object else given
        none = np.zeros(given.shape, np.int32)
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor(OUTPUT, (number + ADDED).astype(np.float32))]
            + [pb_utils.Tensor(name, none) for name in ("TRUNCATED_TOKENS", "UNKNOWN_TOKENS")]
        )
"""
PARTS = {"cola_tokenizer": ("TEXT", "NUMBER", 0.1), "cola_classifier": ("NUMBER", "PROBABILITY", 0.01)}


def write_revision(repository: Path, revision: int, *, code: str = "", noted: float | None = None) -> None:
    """Write what an export would: both parts, and what the second one answered then."""
    for name, (given, output, unit) in PARTS.items():
        version = repository / name / "1"
        version.mkdir(parents=True, exist_ok=True)
        constants = f"INPUT, OUTPUT, ADDED = {given!r}, {output!r}, {unit * revision}\n"
        (version / "model.py").write_text(code + constants + MODEL)
        kind = "TYPE_STRING" if given == "TEXT" else "TYPE_FP32"
        (version.parent / "config.pbtxt").write_text(PART + TENSORS.format(given, kind, output))
    ensemble = repository / "cola"
    (ensemble / "1").mkdir(parents=True, exist_ok=True)
    (ensemble / "config.pbtxt").write_text(ENSEMBLE + TENSORS.format("TEXT", "TYPE_STRING", "PROBABILITY"))
    asked = {"name": "NUMBER", "shape": [1, 1], "datatype": "FP32", "data": [0.5]}
    answered = 0.5 + 0.01 * revision if noted is None else noted
    checks = [{"inputs": [asked], "output": "PROBABILITY", "values": [answered]}]
    (repository / "cola_classifier" / "1" / "check.json").write_text(json.dumps(checks))
    (repository / "cola_classifier" / "1" / "export.json").write_text(json.dumps({"revision": revision}))


class Asking:
    """Asks without a pause, the facade and Triton, and counts what comes."""

    def __init__(self, server: OwnServer) -> None:
        self.seen: Counter[float | str] = Counter()
        self._answered = [0, 0]
        self._stop = threading.Event()
        self._server = server
        self._threads = [threading.Thread(target=each) for each in (self._ask_facade, self._ask_triton)]

    def __enter__(self) -> "Asking":
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._stop.set()
        for each in self._threads:
            each.join()

    def now(self) -> Counter[float | str]:
        """Return what is asked for from now on, for a moment, by both."""
        # What either has under way may be of before, however late it is read.
        under_way = self._answered.copy()
        while any(now == then for now, then in zip(self._answered, under_way, strict=True)):
            time.sleep(0.01)
        before = self.seen.copy()
        while (self.seen - before).total() < 10:
            time.sleep(0.01)
        return self.seen - before

    def _ask_facade(self) -> None:
        with httpx.Client(base_url=self._server.url, timeout=60, trust_env=False) as http:
            while not self._stop.is_set():
                ready, answer = http.get("/health/ready"), http.post("/generate", json={"passage": "x"})
                self.seen[round(answer.json()["prob"], 2) if answer.is_success else answer.text] += 1
                self.seen.update([] if ready.is_success else [ready.text])
                self._answered[0] += 1

    def _ask_triton(self) -> None:
        with TridentClient(self._server.grpc_url, protocol="grpc") as client:
            while not self._stop.is_set():
                try:
                    self.seen[round(float(client.acceptability(["x"])[0]), 2)] += 1
                except Exception as error:
                    self.seen[repr(error)] += 1
                self._answered[1] += 1


def serve_command(server: OwnServer, *words: str) -> tuple[int, str]:
    """Run ``trident-serve`` in this process; return its status and what it says."""
    done = CliRunner().invoke(app, [f"--cache-dir={server.cache_dir}", *words])
    return done.exit_code, done.output


def run_serve_command(server: OwnServer, *words: str) -> tuple[int, str]:
    """The same in a process of its own, as a person does."""
    command = [str(Path(sys.executable).with_name("trident-serve")), f"--cache-dir={server.cache_dir}", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    return done.returncode, done.stdout + done.stderr


IN_PROCESS = pytest.mark.parametrize("server", [[]], indirect=True, ids=["in process"])


@pytest.fixture(scope="module", params=[[], ["--isolated"]], ids=["in process", "isolated"])
def server(request, tmp_path_factory, share_backends):
    folder = tmp_path_factory.mktemp("exchange")
    write_revision(folder / "models", 1)
    with OwnServer(folder / "models", share_backends(folder / "run"), ["--models=cola", *request.param]) as server:
        server.repository = folder / "models"
        yield server


def test_promoted_and_rolled_back_under_load_nothing_is_lost_and_no_answer_is_mixed(server):
    with Asking(server) as asking:
        assert set(asking.now()) == {0.11}
        write_revision(server.repository, 2)
        # What is exported is not served before it is asked for.
        assert set(asking.now()) == {0.11}
        status, said = serve_command(server, "promote", "cola")
        assert status == 0, said
        assert "it answers as its export did" in said
        assert set(asking.now()) == {0.22}
        status, said = serve_command(server, "rollback", "cola")
        assert status == 0, said
        assert set(asking.now()) == {0.11}
        # Also the next start serves it.
        assert "0.1\n" in (server.repository / "cola_tokenizer" / "1" / "model.py").read_text()
        status, said = serve_command(server, "rollback", "cola")
        assert status == 0, said
        assert set(asking.now()) == {0.22}
    assert set(asking.seen) == {0.11, 0.22}, asking.seen
    # Nothing of what was exchanged is taken for a death.
    assert "Starting it again" not in "".join(server.said)


def test_what_does_not_load_or_answers_otherwise_is_not_served(server):
    with Asking(server) as asking:
        (before,) = set(asking.now())
        for wrong, reason in (
            ({"code": "raise ValueError('no such file')\n"}, "did not load cola_"),
            ({"noted": 0.9}, "does not answer as its export did"),
        ):
            write_revision(server.repository, 3, **wrong)
            status, said = serve_command(server, "promote", "cola")
            assert (status, reason in said) == (1, True), said
            assert set(asking.now()) == {before}
        file = server.repository / "cola_classifier" / "config.pbtxt"
        write_revision(server.repository, 3)
        file.write_text(file.read_text().replace("64", "32"))
        assert "The configuration of cola_classifier is another one" in serve_command(server, "promote", "cola")[1]
        # What is right after all that is served.
        write_revision(server.repository, 3)
        assert serve_command(server, "promote", "cola")[0] == 0
        assert set(asking.now()) == {0.33}
        assert "served as it is there already" in serve_command(server, "promote", "cola")[1]
    assert set(asking.seen) == {before, 0.33}, asking.seen


@IN_PROCESS
def test_a_triton_that_is_started_again_serves_what_was_promoted(server):
    write_revision(server.repository, 4)
    assert run_serve_command(server, "promote", "cola")[0] == 0
    write_revision(server.repository, 5)
    server.triton.kill()
    deadline = time.monotonic() + 120
    while not any("Triton is ready again" in line for line in server.said) and time.monotonic() < deadline:
        time.sleep(0.1)
    with Asking(server) as asking:
        assert set(asking.now()) == {0.44}
    status, said = run_serve_command(server, "rollback", "cola")
    assert status == 0, said
    assert "holds another cola by now" in said
    assert "0.5\n" in (server.repository / "cola_tokenizer" / "1" / "model.py").read_text()


@IN_PROCESS
def test_what_is_no_set_or_was_not_exchanged_is_told(server):
    assert "no models called 'nothing'" in serve_command(server, "promote", "nothing")[1]
    assert "nothing was not exchanged" in serve_command(server, "rollback", "nothing")[1]
