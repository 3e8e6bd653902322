"""``trident-bench`` against a real Triton: stages that add up, and a configuration that a server then loads."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from google.protobuf import text_format
from image_context import stage
from trident_bench.repository import configuration
from trident_server.process import TritonProcess
from tritonclient.grpc.model_config_pb2 import ModelConfig

#: A guard against what never ends, on a machine that has much else to do.
MOST_SECONDS = 1200

pytestmark = [pytest.mark.serving, pytest.mark.bench, pytest.mark.timeout(2 * MOST_SECONDS)]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, as a person does: gRPC keeps to one event loop in each."""
    script = "from trident_bench.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=MOST_SECONDS
    )


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A copy of one task's built models that may be written to."""
    copy = stage("model_repository", tmp_path_factory.mktemp("tune") / "models")
    for folder in copy.iterdir():
        if not folder.name.startswith("cola") or folder.name.startswith("cola_small"):
            shutil.rmtree(folder)
    return copy


def level(folder: Path, in_flight: int) -> dict:
    levels = json.loads((folder / "results.json").read_text())["levels"]
    (found,) = [each for each in levels if each["in_flight"] == in_flight]
    return found


def assert_adds_up(found: dict) -> None:
    # Triton counts a model's time until it has tidied up, when its answer has gone on: a little is counted twice.
    assert found["mean"] * 0.95 <= sum(each["microseconds"] for each in found["stages"]) <= found["mean"] * 1.3


def test_a_profiles_stages_add_up_to_the_request(repository, tmp_path):
    arguments = ["--repository", str(repository), "--output", str(tmp_path)]
    done = bench("profile", "cola", "--seconds", "0.5", "--warm-up", "0.2", "--in-flight", "8", *arguments)
    assert done.returncode == 0, done.stderr
    for in_flight in (1, 8):
        found = level(tmp_path, in_flight)
        assert found["alone"]
        spent = {(each["part"], each["name"]): each["microseconds"] for each in found["stages"]}
        assert_adds_up(found)
        assert min(spent.values()) >= 0
        assert spent["cola_classifier", "compute infer"] > 0
        assert {part for part, _ in spent} == {"client", "Triton", "cola_tokenizer", "cola_classifier"}
    assert level(tmp_path, 8)["batches"]["cola_classifier"] > 1
    assert (tmp_path / "profile.png").stat().st_size > 10_000


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_running_server_is_profiled_over_either_protocol(triton: TritonProcess, tmp_path, protocol):
    url = triton.grpc_url if protocol == "grpc" else triton.http_url
    arguments = ["--seconds", "0.5", "--warm-up", "0.1", "--in-flight", "1", "--output", str(tmp_path)]
    done = bench("profile", "cola", "--url", url, "--protocol", protocol, *arguments)
    assert done.returncode == 0, done.stderr
    assert_adds_up(level(tmp_path, 1))


def test_short_requests_are_measured_alone_and_beside_a_passage(triton: TritonProcess, tmp_path):
    arguments = ["--seconds", "0.5", "--warm-up", "0.1", "--output", str(tmp_path)]
    done = bench("mixed", "cola", "qa", "--url", triton.grpc_url, "--characters", "20000", *arguments)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "results.json").read_text())
    assert [(each["ensemble"], each["beside"]) for each in found["waits"]] == [
        ("cola", False),
        ("qa", False),
        ("cola", True),
        ("qa", True),
    ]
    for each in found["waits"]:
        assert each["requests"] > 0
        assert 0 < each["p50"] <= each["p99"] <= each["longest"]
    # Some thirty windows take longer than one.
    assert min(found["passage_seconds"]) > found["waits"][1]["p50"] / 1000
    assert "| cola |" in (tmp_path / "report.md").read_text()
    refused = bench("mixed", "cola", "--url", triton.grpc_url, *arguments)
    assert (refused.returncode, "None of cola reads a passage" in refused.stderr) == (1, True)


def test_a_tuned_configuration_is_what_a_server_then_loads(repository, tmp_path, new_triton):
    # On a busy machine no second trial is reliably better: here the later one always counts as such.
    script = (
        "import trident_bench.tuning.study as study, trident_bench.tuning.verdict as verdict\n"
        "verdict.Verdict.better = property(lambda self: True)\n"
        "study.Search.score = lambda self, trial: float(trial.number)\n"
        "from trident_bench.cli import main\n"
        "main()\n"
    )
    arguments = ["tune", "cola", "--repository", str(repository), "--output", str(tmp_path), "--name", "host"]
    short = ["--trials", "2", "--seconds", "0.5", "--warm-up", "0.2", "--rounds", "1", "--in-flight", "8"]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments, *short], capture_output=True, text=True, timeout=MOST_SECONDS
    )
    assert done.returncode == 0, done.stderr
    written = {file.parents[1].name for file in repository.glob("*/configs/host.pbtxt")}
    assert written, done.stdout
    assert {str(repository / model / "configs" / "host.pbtxt") for model in written} == set(
        json.loads((tmp_path / "results.json").read_text())["written"]
    )
    with new_triton(repository, config_name="host", ready_timeout=240) as triton:
        for model in ("cola_tokenizer", "cola_classifier"):
            named = repository / model / "configs" / "host.pbtxt"
            own = configuration(repository, model)
            wanted = text_format.Parse(named.read_text(), ModelConfig()) if model in written else own
            assert (wanted != own) is (model in written)
            served = httpx.get(f"http://{triton.http_url}/v2/models/{model}/config").json()
            assert served["max_batch_size"] == wanted.max_batch_size
            assert served["instance_group"][0]["count"] == wanted.instance_group[0].count
            assert {key: each["string_value"] for key, each in served["parameters"].items()} == {
                key: each.string_value for key, each in wanted.parameters.items()
            }
            batching = served["dynamic_batching"]
            assert batching["max_queue_delay_microseconds"] == wanted.dynamic_batching.max_queue_delay_microseconds
            # Where none is preferred, Triton prefers the largest.
            preferred = list(wanted.dynamic_batching.preferred_batch_size) or [wanted.max_batch_size]
            assert batching["preferred_batch_size"] == preferred
