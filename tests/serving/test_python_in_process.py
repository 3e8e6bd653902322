"""Python models that opt in run inside Triton's process, others beside them in processes of their own."""

import json
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from trident_server.errors import ServerStartError
from trident_server.process import TritonProcess
from trident_server.supervisor import SHARED_MEMORY
from tritonclient.utils import InferenceServerException

pytestmark = pytest.mark.serving

ROOT = Path(__file__).resolve().parents[2]
SECONDS_TO_STOP = 15.0

# Waits for four requests, so that those sent at once are one batch.
CONFIG = """
backend: "python"
max_batch_size: 4
input [ { name: "TEXT" data_type: TYPE_STRING dims: [ 1 ] } ]
output [
  { name: "SAME" data_type: TYPE_STRING dims: [ 1 ] },
  { name: "PID" data_type: TYPE_INT64 dims: [ 1 ] },
  { name: "JOINED" data_type: TYPE_INT32 dims: [ 1 ] }
]
dynamic_batching { max_queue_delay_microseconds: 300000 preferred_batch_size: [ 4 ] }
instance_group [ { count: %d kind: KIND_CPU } ]
"""
PARAMETER = 'parameters { key: "IN_PROCESS" value: { string_value: "%s" } }\n'
MODEL = """
import os
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.farewell = Path(args["model_repository"]) / "farewell"
        pb_utils.Logger.log_info(f"hello from {args['model_name']}")

    def execute(self, requests):
        return [self.answer(request, len(requests)) for request in requests]

    def answer(self, request, joined):
        texts = pb_utils.get_input_tensor_by_name(request, "TEXT").as_numpy()
        word, _, rest = texts[0, 0].decode().partition(" ")
        if word == "raise":
            raise ValueError("on demand")
        if word == "refuse":
            code = getattr(pb_utils.TritonError, rest)
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("no\\0more", code))
        kind = np.float32 if word == "dtype" else np.int64
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor("SAME", texts),
                pb_utils.Tensor("PID", np.full(texts.shape, os.getpid(), kind)),
                pb_utils.Tensor("JOINED", np.full(texts.shape, joined, np.int32)),
            ]
        )

    def finalize(self):
        self.farewell.touch()
"""


def write_model(repository: Path, name: str, word: str | None = None, model: str = MODEL, instances: int = 1) -> Path:
    version = repository / name / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(model, "utf-8")
    (version.parent / "config.pbtxt").write_text(CONFIG % instances + (PARAMETER % word if word is not None else ""))
    return repository


class PendingRequest:
    """One request that is under way."""

    def __init__(self, triton: TritonProcess, model: str, *texts: str, outputs: tuple[str, ...] = ()) -> None:
        self._client = triton_http.InferenceServerClient(triton.http_url, network_timeout=60)
        array = np.array([[text.encode()] for text in texts], dtype=np.object_)
        given = triton_http.InferInput("TEXT", list(array.shape), "BYTES")
        given.set_data_from_numpy(array)
        wanted = [triton_http.InferRequestedOutput(name) for name in outputs] or None
        self._request = self._client.async_infer(model, [given], outputs=wanted)

    def answer(self) -> dict[str, list]:
        try:
            result = self._request.get_result(timeout=60)
            return {each["name"]: result.as_numpy(each["name"]).tolist() for each in result.get_response()["outputs"]}
        finally:
            self._client.close()

    def error(self) -> tuple[str | None, str]:
        with pytest.raises(InferenceServerException) as caught:
            self.answer()
        return caught.value.status(), caught.value.message()


def regions_of_us() -> set[str]:
    return {region.name for region in SHARED_MEMORY.glob(f"trident-*-{os.getpid()}-*")}


@pytest.fixture(scope="module", params=[False, True], ids=["in-process", "isolated"])
def isolated(request) -> bool:
    return request.param


@pytest.fixture(scope="module")
def triton(isolated, serve_models, tmp_path_factory):
    repository = tmp_path_factory.mktemp("python_in_process") / "models"
    for name, word in (("hosted", "true"), ("own", None), ("declined", "false")):
        write_model(repository, name, word)
    write_model(repository, "many", "true", instances=3)
    shutil.copytree(ROOT / "model_repository" / "sts_tokenizer", repository / "sts_tokenizer")
    with serve_models(repository, isolated=isolated) as process:
        yield process


def test_a_model_that_opts_in_runs_in_tritons_process_and_no_other_does(triton, isolated):
    pids = {
        name: PendingRequest(triton, name, "a").answer()["PID"][0][0] for name in ("hosted", "many", "own", "declined")
    }
    inside = {name for name, pid in pids.items() if pid == triton.pid}
    assert inside == (set() if isolated else {"hosted", "many"})
    stubs = {each.pid for each in psutil.Process(triton.pid).children() if "stub" in each.name()}
    assert {pid for name, pid in pids.items() if name not in inside} <= stubs
    assert len(stubs) == (7 if isolated else 2)


def test_a_tokenizer_takes_its_optional_inputs_in_either(triton):
    def numbers(name, *rows):
        given = triton_grpc.InferInput(name, [len(rows), 1], "INT32")
        return given.set_data_from_numpy(np.array([[each] for each in rows], np.int32))

    text = "cat " * 300 + "dog"
    texts = triton_grpc.InferInput("TEXT", [2, 1], "BYTES")
    texts.set_data_from_numpy(np.array([[text.encode()]] * 2, np.object_))
    asked = [texts, numbers("TRUNCATE_LEFT", 0, 1), numbers("WITH_TOKENS", 1, 1)]
    with triton_grpc.InferenceServerClient(triton.grpc_url) as client:
        answer = client.infer("sts_tokenizer", asked, client_timeout=60)
        plain = client.infer("sts_tokenizer", [texts], client_timeout=60)
    first, *_, dog, last = json.loads(answer.as_numpy("TOKENS")[0, 0])
    assert (first[1], dog[1:], last[1]) == ("[CLS]", ["dog", False, 1200, 1203], "[SEP]")
    right, left = answer.as_numpy("INPUT_IDS").tolist()
    assert (len(left), left[-2], left[1]) == (256, dog[0], right[1])
    assert dog[0] not in right
    assert plain.as_numpy("TOKENS") is None
    assert plain.as_numpy("INPUT_IDS").tolist() == [right, right]


@pytest.mark.parametrize("model", ["hosted", "own"])
def test_texts_go_in_and_out(triton, model):
    texts = ["straße", "고양이 🙂", "", "a\0b"]
    assert PendingRequest(triton, model, *texts).answer()["SAME"] == [[text.encode()] for text in texts]
    long = "고" * 100_000
    assert PendingRequest(triton, model, long, outputs=("SAME",)).answer() == {"SAME": [[long.encode()]]}


@pytest.mark.parametrize("model", ["hosted", "own"])
def test_a_refusal_harms_no_other_request_of_its_batch(triton, model):
    refused, answered = PendingRequest(triton, model, "refuse NOT_FOUND"), PendingRequest(triton, model, "a", "b", "c")
    assert refused.error() == ("404", "no")
    answer = answered.answer()
    assert (answer["SAME"], answer["JOINED"]) == ([[b"a"], [b"b"], [b"c"]], [[2]] * 3)


@pytest.mark.parametrize("model", ["hosted", "own"])
@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("UNKNOWN", "UNKNOWN"),
        ("INTERNAL", "INTERNAL"),
        ("NOT_FOUND", "NOT_FOUND"),
        ("INVALID_ARG", "INVALID_ARGUMENT"),
        ("UNAVAILABLE", "UNAVAILABLE"),
        ("UNSUPPORTED", "UNIMPLEMENTED"),
        ("ALREADY_EXISTS", "ALREADY_EXISTS"),
        ("CANCELLED", "CANCELLED"),
    ],
)
def test_a_refusal_has_the_models_code_and_is_not_logged(triton, model, code, status):
    before = triton.log_file.read_text()
    given = triton_grpc.InferInput("TEXT", [1, 1], "BYTES")
    given.set_data_from_numpy(np.array([[f"refuse {code}".encode()]], dtype=np.object_))
    with (
        triton_grpc.InferenceServerClient(triton.grpc_url) as client,
        pytest.raises(InferenceServerException, match="no") as caught,
    ):
        client.infer(model, [given], client_timeout=60)
    assert caught.value.status() == f"StatusCode.{status}"
    assert triton.log_file.read_text() == before


def test_models_log_through_triton(triton):
    log = triton.log_file.read_text()
    assert all(f"hello from {name}" in log for name in ("hosted", "own"))


def test_a_wrong_dtype_is_an_error_of_its_request_alone(triton, isolated):
    if isolated:
        pytest.skip("what the wheel's backend does with one is its own affair")
    wrong, answered = PendingRequest(triton, "hosted", "dtype"), PendingRequest(triton, "hosted", "a", "b", "c")
    assert wrong.error() == ("500", "model 'hosted': output 'PID' is configured INT64, but the model gave float32")
    assert answered.answer()["JOINED"] == [[2]] * 3


@pytest.mark.parametrize("model", ["hosted", "own"])
def test_an_exception_reaches_its_whole_batch_and_no_later_one(triton, isolated, model):
    for status, message in [
        each.error() for each in (PendingRequest(triton, model, "raise"), PendingRequest(triton, model, "a", "b", "c"))
    ]:
        assert (status, model in message, "on demand" in message) == ("500", True, True)
    assert PendingRequest(triton, model, "a").answer()["SAME"] == [[b"a"]]
    if model == "hosted" and not isolated:
        assert "line 21, in answer" in triton.log_file.read_text(), "where it happened"


def test_instances_answer_at_the_same_time_without_mixing(triton):
    def ask(number):
        texts = [f"{number}.{place}" for place in range(1 + number % 4)]
        right[number] = PendingRequest(triton, "many", *texts).answer()["SAME"] == [[text.encode()] for text in texts]

    right: dict[int, bool] = {}
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == dict.fromkeys(range(24), True)


def test_it_stops_without_a_trace_and_says_farewell(new_triton, tmp_path):
    repository = write_model(tmp_path / "models", "hosted", "true")
    before = regions_of_us()
    with new_triton(repository, stop_grace=SECONDS_TO_STOP) as triton:
        assert PendingRequest(triton, "hosted", "a").answer()["PID"] == [[triton.pid]]
        assert not psutil.Process(triton.pid).children()
        assert regions_of_us() == before
    assert (repository / "hosted" / "farewell").exists()
    assert regions_of_us() == before


def test_what_cannot_be_hosted_fails_the_start_and_says_why(new_triton, tmp_path):
    write_model(tmp_path / "models", "own")
    write_model(tmp_path / "models", "unsure", "yes")
    triton = new_triton(write_model(tmp_path / "models", "hosted", "true", "import nothing_like_it"))
    with pytest.raises(ServerStartError) as failure:
        triton.start()
    for says in (
        "model 'unsure': parameter 'IN_PROCESS' must be true or false, got 'yes'",
        "model 'hosted': ModuleNotFoundError: No module named 'nothing_like_it'",
    ):
        assert says in str(failure.value)
