"""The facade as users meet it: a server of its own on a port, before the real Triton."""

import base64
import json
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import openai
import pytest
import requests
import schemathesis
from chaos.asking import asked_before
from chaos.questions import EVERYTHING
from fuzzing import looking
from hypothesis import given
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import status_code_conformance
from served_models import READY_SECONDS
from trident_server.errors import ServerStartError
from trident_server.facade import FacadeProcess
from trident_server.ports import free_ports

pytestmark = pytest.mark.serving

PAIRS = [
    ("A man is playing a guitar.", "A man plays the guitar."),
    ("A man is playing a guitar.", "The stock market fell sharply."),
    ('He said "no", twice.', "고양이, a cat 🐟"),
]
SAMPLE = {"results": [{"idx": index, "sentence1": a, "sentence2": b} for index, (a, b) in enumerate(PAIRS * 25)]}
SECONDS_TO_TIDY_UP = 60.0
# Several seconds' work: what a client that goes away leaves behind.
LONG_QUESTION = {"question": "Where?", "context": "The river rises in the hills. " * 10_000}


def facade_of(triton, log_file, **chosen):
    return FacadeProcess(
        triton_url=triton.http_url,
        triton_grpc_url=triton.grpc_url,
        log_file=log_file,
        ready_timeout=READY_SECONDS,
        stop_grace=0.0,
        settings=chosen,
    )


@pytest.fixture(scope="module")
def url(triton, tmp_path_factory):
    """The address of a facade as it is without settings, for all tests that need no other."""
    with facade_of(triton, tmp_path_factory.mktemp("facade") / "facade.log") as facade:
        yield facade.url


@pytest.fixture
def serve(triton, tmp_path):
    """Starts a facade with settings of its own and returns its address."""
    started = []

    def start(**chosen):
        facade = facade_of(triton, tmp_path / f"facade-{len(started)}.log", **chosen)
        started.append(facade)
        facade.start()
        return facade.url

    yield start
    for facade in started:
        facade.stop()


def metric(url, name):
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def wait_until(holds):
    """Wait for what the facade does once it has answered: its log, its counts."""
    deadline = time.monotonic() + SECONDS_TO_TIDY_UP
    while not (found := holds()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def test_published_requests_work_unchanged(url):
    headers = {"Content-type": "application/json", "Accept": "text/plain"}
    answer = requests.post(f"{url}/generate", data=json.dumps({"passage": "I are a boy"}), headers=headers, timeout=60)
    assert list(answer.json()) == ["prob"]
    assert answer.json()["prob"] < 0.5
    assert float(answer.headers["x-inference-time"]) > 0
    for path in ("/pred/file/", "/pred/multi/", "/pred/file/multi/"):
        sample = {"file": ("sample_data.json", json.dumps(SAMPLE), "application/json")}
        body = requests.post(url + path, files=sample, timeout=60).json()
        assert set(body) == {"sentences", "preds", "scores", "runtime(sec)"}
        assert body["sentences"] == [list(pair) for pair in PAIRS * 25]
        scores = np.reshape(body["scores"], (25, 3))
        assert np.allclose(scores, scores[0], atol=0.02)
        assert body["preds"][:2] == [1, 0]


def test_a_large_file_comes_back_row_by_row(url):
    # From 1,025 pairs on.
    rows = "".join(f"{index},A man is playing a guitar.,Person {index} plays.\r\n" for index in range(1100))
    sample = {"file": ("a.csv", "idx,sentence1,sentence2\r\n" + rows, "text/csv")}
    options = {"headers": {"accept": "application/x-ndjson"}, "timeout": 120}
    with httpx.stream("POST", f"{url}/pred/multi/", files=sample, **options) as answer:
        assert answer.status_code == 200
        found = [json.loads(line) for line in answer.iter_lines()]
    assert [row["idx"] for row in found] == [str(index) for index in range(1100)]
    assert all(-1 <= row["score"] <= 1 for row in found)


def test_the_openai_package_embeds(url):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="x")
    texts = ["A man is playing a guitar.", "Someone plays an instrument.", "The stock market fell sharply."]
    numbers = client.embeddings.create(model="sts", input=texts, encoding_format="float")
    packed = client.embeddings.create(model="sts", input=texts)
    raw = client.embeddings.create(model="sts", input=texts, encoding_format="base64")
    vectors = np.array([each.embedding for each in numbers.data])
    assert vectors.shape == (3, 384)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1], abs=1e-3)
    assert vectors[0] @ vectors[1] > 0.5 > 0.3 > vectors[0] @ vectors[2]
    assert np.allclose(vectors, [each.embedding for each in packed.data], atol=0.01)
    assert np.allclose(
        vectors, [np.frombuffer(base64.b64decode(each.embedding), "<f4") for each in raw.data], atol=0.01
    )
    with pytest.raises(openai.BadRequestError, match="accepted are 384"):
        client.embeddings.create(model="sts", input=texts[0], dimensions=64)
    # The word between the two special tokens.
    assert client.embeddings.create(model="sts", input="guitar").usage.prompt_tokens == 3
    assert "sts" in [each.id for each in client.models.list()]


def test_many_requests_at_once_are_few_of_triton_and_each_is_answered_with_its_own(url):
    names = ('trident_joined_size_count{task="embed"}', 'trident_joined_size_sum{task="embed"}')
    before = [metric(url, name) for name in names]
    texts = [f"Sentence {number} has {'many ' * number}words." for number in range(1, 97)]
    texts[40] = "A text that is longer than the encoder takes. " * 100

    def ask(text):
        answer = client.post(f"{url}/embed", json={"sentences": [text]})
        assert answer.status_code == 200
        return answer.json()["embeddings"][0], "x-truncated" in answer.headers

    with httpx.Client(timeout=60, limits=httpx.Limits(max_connections=48)) as client:
        with ThreadPoolExecutor(48) as threads:
            together = list(threads.map(ask, texts))
        alone = [ask(text) for text in texts]
    found, expected = (np.array([embedding for embedding, _ in each]) for each in (together, alone))
    # Nobody's neighbour: bfloat16 rounds a little otherwise in another batch.
    assert ((found @ expected.T).argmax(1) == np.arange(len(texts))).all()
    assert (found * expected).sum(1).min() > 0.999
    assert [cut for _, cut in together] == [cut for _, cut in alone] == [text == texts[40] for text in texts]
    batches, joined = (metric(url, name) - value for name, value in zip(names, before, strict=True))
    assert joined == 2 * len(texts)
    assert batches - len(texts) < len(texts) / 2, "one batch for each text alone, and few for all together"


def test_a_client_that_goes_away_frees_its_turn(serve):
    url = serve(max_concurrent=1, max_waiting=0)
    host, port = url.removeprefix("http://").split(":")
    body = json.dumps(LONG_QUESTION).encode()
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"POST /qa HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        assert wait_until(lambda: metric(url, "trident_queue_running "))
        assert httpx.post(f"{url}/generate", json={"passage": "a"}).status_code == 429
    assert wait_until(lambda: not metric(url, "trident_queue_running "))
    given_up = 'trident_http_requests_total{method="POST",route="/qa",status="499"}'
    assert wait_until(lambda: metric(url, given_up) == 1)
    assert httpx.post(f"{url}/generate", json={"passage": "I am a boy."}, timeout=60).status_code == 200


def test_overload_is_refused_and_what_is_let_in_is_answered(serve):
    url = serve(max_concurrent=2, max_waiting=2)
    question = {"question": "Where?", "context": LONG_QUESTION["context"][:6_000]}
    with ThreadPoolExecutor(16) as threads, httpx.Client(timeout=120, limits=httpx.Limits(max_connections=16)) as http:
        answers = list(threads.map(lambda _: http.post(f"{url}/qa", json=question), range(16)))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 429}
    assert all(answer.headers["retry-after"] for answer in answers if answer.status_code == 429)
    assert metric(url, 'trident_upstream_errors_total{kind="OverloadedError"') == statuses.count(429)
    for count in ("trident_queue_running ", "trident_queue_waiting "):
        assert wait_until(lambda count=count: metric(url, count) == 0)


def test_a_deadline_that_passes_is_a_504(serve):
    answer = httpx.post(f"{serve(deadline=0.01)}/qa", json=LONG_QUESTION, timeout=60)
    assert answer.status_code == 504
    assert "within 0.01 s" in answer.json()["detail"]


def test_the_log_is_json_without_what_was_asked(serve, tmp_path):
    url = serve(log_level="info")
    answer = httpx.post(f"{url}/generate", json={"passage": "my secret diary"}, timeout=60)
    log = tmp_path / "facade-0.log"
    # Written once the answer is sent, and a line may be half there.
    assert wait_until(lambda: [line for line in log.read_text().splitlines(True) if "cola" in line and "\n" in line])
    (entry,) = [json.loads(line) for line in log.read_text().splitlines() if "cola" in line]
    assert entry["request_id"] == answer.headers["x-request-id"]
    assert (entry["route"], entry["status"], entry["size"]) == ("/generate", 200, 1)
    assert "secret" not in log.read_text()


def test_every_endpoint_keeps_to_its_document_before_the_real_triton(url):
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    answered = set()
    for operation in (each.ok() for each in schema.get_all_operations()):

        @looking(10)
        @given(case=operation.as_strategy())
        def keeps(case):
            answer = case.call_and_validate(checks=[not_a_server_error, status_code_conformance])
            answered.add(answer.status_code)

        keeps()
    assert {200, 422} <= answered <= {200, 400, 404, 422}


def test_what_the_soak_asks_is_answered_as_the_soak_expects(url, triton):
    known = asked_before(url, EVERYTHING, triton.grpc_url)
    assert len(known) == len(EVERYTHING)


def test_a_proxy_in_the_environment_is_not_asked_for_triton(serve, monkeypatch):
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for protocol in ("grpc", "http"):
        url = serve(triton_protocol=protocol)
        with httpx.Client(trust_env=False, timeout=60) as http:
            assert http.post(f"{url}/generate", json={"passage": "I am a boy."}).status_code == 200


def test_a_start_that_waits_for_a_triton_that_is_away_says_so(tmp_path):
    (port,) = free_ports(1)
    away = f"127.0.0.1:{port}"
    # Where the machine is busy, the facade itself takes longer than the first of these to come up.
    for seconds in (5, 60):
        facade = FacadeProcess(
            triton_url=away,
            triton_grpc_url=away,
            log_file=tmp_path / "facade.log",
            ready_timeout=seconds,
            stop_grace=0.0,
        )
        with pytest.raises(ServerStartError, match=f"not ready after {seconds} s") as failure:
            facade.start()
        if "answers" in str(failure.value):
            break
    assert re.search(rf"/health/ready answers 503: .*{away}", str(failure.value))


def test_a_file_without_keys_is_said_at_the_start(serve, tmp_path):
    (tmp_path / "keys").write_text("# nobody yet\n")
    with pytest.raises(ServerStartError, match="must be a file in UTF-8 with at least one key"):
        serve(api_keys_file=tmp_path / "keys")


def test_only_holders_of_a_key_may_ask(serve, tmp_path):
    (tmp_path / "keys").write_text("first\n")
    url = serve(api_keys_file=tmp_path / "keys")
    assert httpx.get(f"{url}/models").status_code == 401
    assert httpx.get(f"{url}/models", headers={"authorization": "Bearer first"}).status_code == 200
