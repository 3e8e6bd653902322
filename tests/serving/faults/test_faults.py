"""The server is hurt under load: every answer is right, no request is lost, and it serves again by itself."""

import asyncio
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from chaos import faults, flood, soak
from chaos.asking import GRPC, Question, asked_before, same
from chaos.faults import FAULTS, GENTLE, STEADY, suffer, table
from chaos.server import OwnServer
from chaos.starts import DAMAGES
from chaos.traffic import Outcome, Traffic
from served_models import READY_SECONDS
from toy_acceptability import write_toy_acceptability
from trident_client import OverloadedError, ReadTimeoutError, Request, Retry, Timeout, TridentClient
from trident_server import process
from trident_server.errors import ServerStartError
from trident_server.facade import FacadeProcess

FLOOD_SECONDS = 6.0
#: Whoever gives up takes what waits out of such a queue.
SCHEDULING = """
dynamic_batching { default_queue_policy { default_timeout_microseconds: 60000000 allow_timeout_override: true } }
"""
SOURCE = Path(__file__).resolve().parents[3] / "model_repository"
pytestmark = pytest.mark.serving

#: One of each kind; all of them with the real models are `make chaos`.
SHORT = ("Triton killed", "a Python model's process killed", "the facade killed")


@pytest.fixture(scope="module")
def server(tmp_path_factory, share_backends):
    folder = tmp_path_factory.mktemp("faults")
    # As few files as many systems let a process open.
    few = ["sh", "-c", 'ulimit -Sn 512 && exec "$@"', "sh"]
    repository = write_toy_acceptability(folder / "models", seconds=0.02, divisor=100, scheduling=SCHEDULING)
    # What is counted here is what is asked here.
    options = ["--models=cola", "--hang-timeout=0"]
    with OwnServer(repository, share_backends(folder / "run"), options, wrapper=few) as server:
        yield server


@pytest.fixture(scope="module")
def questions(server):
    texts = ["x" * length for length in range(1, 98, 7)]
    bad = Question("/generate", {"passage": ""}, status=422)
    return asked_before(server.url, [Question("/generate", {"passage": text}) for text in texts] + [bad])


@pytest.mark.parametrize("name", SHORT)
def test_every_answer_is_right_none_is_lost_and_it_serves_again_by_itself(server, questions, name):
    assert name in FAULTS
    row = suffer(server, name, questions, clients=8)
    assert row.in_flight > 0
    assert (row.lost, row.wrong) == (0, 0), row.complaints
    assert row.right >= STEADY
    # It takes a second at least to start anything again.
    assert row.seconds > 1.0
    # Only a facade that is gone leaves its clients without a word of its own.
    assert row.broken == 0 or name == "the facade killed"
    assert f"| {name} | {row.in_flight} | {row.right} |" in table([row])


@pytest.mark.parametrize("name", ["1,000 idle connections", "200 clients that send a byte in 100 ms"])
def test_who_only_holds_a_connection_takes_nothing_from_others(server, questions, name, monkeypatch):
    assert name in GENTLE
    monkeypatch.setattr(faults, "HALT_SECONDS", 1.0)
    monkeypatch.setattr(faults, "SLOW_SECONDS", 1.0)
    row = suffer(server, name, questions, clients=4)
    assert (row.refused, row.broken, row.lost, row.wrong) == (0, 0, 0, 0), row.complaints
    assert row.right >= STEADY


def test_who_leaves_lists_half_sent_keeps_others_out_for_a_moment_at_most(server, questions, monkeypatch):
    monkeypatch.setattr(faults, "SLOW_SECONDS", 12.0)
    row = suffer(server, "20 lists of 16 MB without their last byte", questions, clients=4)
    assert (row.broken, row.lost, row.wrong) == (0, 0, 0), row.complaints
    # They were there for longer than that.
    assert row.seconds < 9.0
    assert row.right > STEADY


def test_what_ended_was_told_by_its_name(server):
    said = "".join(server.said)
    assert "Triton was killed by SIGKILL." in said
    assert "The process of the Python model 'cola' ended" in said
    assert "The facade was killed by SIGKILL." in said
    assert said.count("is ready again.") == len(SHORT)


def test_a_model_that_hangs_is_told_by_its_name_and_all_is_started_again(tmp_path, share_backends, monkeypatch):
    monkeypatch.setenv("TRIDENT_READ_TIMEOUT", "5")
    repository = write_toy_acceptability(tmp_path / "models", divisor=100)
    options = ["--models=cola", "--hang-timeout=6"]
    with OwnServer(repository, share_backends(tmp_path / "run"), options) as server:

        def ask(text):
            return httpx.post(f"{server.url}/generate", json={"passage": text}, timeout=60, trust_env=False).status_code

        # Not for having nothing to do, nor for something that takes long.
        quiet_until = time.monotonic() + 8
        while time.monotonic() < quiet_until:
            assert ask("slow") == 200
        assert ask("x") == 200
        said = len(server.said)
        assert ask("for ever") == 504
        ready = httpx.get(f"{server.url}/health/ready", timeout=10, trust_env=False)
        assert ready.status_code == 503
        assert "The set 'cola' answers nothing" in ready.json()["detail"]
        assert wait_for(lambda: "is ready again." in "".join(server.said[said:]), 120)
        assert "The model 'cola' has finished nothing for 6 s while it was asked.\n" in server.said[said:]
        assert wait_for(lambda: ask("x") == 200, 30)
        said = len(server.said)
        halted = server.triton
        halted.suspend()
        assert wait_for(lambda: "is ready again." in "".join(server.said[said:]), 120)
        # Whichever is noticed first, with so little patience.
        reasons = (f"Triton is halted (process {halted.pid}).", "Triton has said nothing for ")
        assert "".join(server.said[said:]).startswith(reasons)
        assert wait_for(lambda: ask("x") == 200, 30)


def wait_for(condition, seconds):
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def test_lists_that_are_too_many_are_refused_with_a_time_and_leave_nothing_in_triton(server, tmp_path):
    texts = ["x" * (1 + index % 97) for index in range(1024)]
    triton = {
        f"triton_{name}url": f"127.0.0.1:{server.ports[f'{port}-port']}"
        for name, port in (("", "http"), ("grpc_", "grpc"))
    }
    settings = {"deadline": FLOOD_SECONDS, "models": "cola"}
    log = tmp_path / "facade.log"
    with (
        FacadeProcess(**triton, log_file=log, ready_timeout=READY_SECONDS, stop_grace=0.0, settings=settings) as facade,
        httpx.Client(
            base_url=facade.url, timeout=120, limits=httpx.Limits(max_connections=64), trust_env=False
        ) as http,
        ThreadPoolExecutor(64) as clients,
    ):
        # 16 batches of 20 ms each: so many at once would take some twenty seconds.
        answers = list(clients.map(lambda _: http.post("/acceptability", json={"sentences": texts}), range(64)))
        deadline = time.monotonic() + 30
        while (left := soak_of_nobody(server)["pending in Triton"]) != [0.0] and time.monotonic() < deadline:
            time.sleep(0.05)
        assert left == [0.0]
    by_status = {status: [each for each in answers if each.status_code == status] for status in (200, 429, 504)}
    assert sum(map(len, by_status.values())) == 64
    assert by_status[200]
    for each in by_status[200]:
        assert each.json()["probs"] == pytest.approx([len(text) / 100 for text in texts])
    waits = sorted(int(each.headers["retry-after"]) for each in by_status[429])
    assert len(waits) > 32
    assert waits[0] >= 1
    assert waits[-1] > 5, "they are to come one after the other"
    assert len(by_status[504]) < len(by_status[429])


def soak_of_nobody(server):
    samples = {name: [] for name in soak.NAMES}
    soak.sample(server, samples)
    return samples


def test_a_soak_looks_at_every_answer_and_at_what_grows(server, questions, tmp_path, monkeypatch):
    over_grpc = [
        Question(GRPC, ("acceptability", ["x" * 10, "x" * 20])),
        Question(GRPC, Request("cola", {"TEXT": np.ones((1, 1), np.float32)}, ("PROBABILITY",)), status=422),
    ]
    known = asked_before(server.url, over_grpc, server.grpc_url)
    assert known[0].answer == [pytest.approx(0.1), pytest.approx(0.2)]
    monkeypatch.setattr(soak, "SAID_EVERY_SECONDS", 1.0)
    said = []
    found = soak.run(server, [*questions, *known], clients=4, seconds=3.0, every=0.5, say=said.append)
    assert 1 <= len(said) < len(found.seconds)
    assert re.match(r"0\.0 of 0\.05 minutes: [1-9][\d,]* answered right.*; [\d,]+ MiB$", said[0])
    assert found.counts["answered right"] > 0
    assert found.failures() == [], found.complaints
    assert len(found.seconds) == len(found.samples["threads"]) >= 2
    soak.plot(found, tmp_path / "soak.png")
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "soak.png").stat().st_size < 100_000
    leaking = {name: [100.0 * (1 + index) for index in range(8)] for name in soak.NAMES}
    failures = soak.Soak(range(8), leaking, {"lost": 1, "wrong": 0}, []).failures()
    assert failures[0] == "1 lost"
    assert "memory, MiB grew from 350 to 750" in failures
    assert failures[-1] == "Triton's queue was not empty at the end"


def test_a_flood_is_told_with_what_became_of_it_and_when_speed_was_full_again(server, tmp_path, monkeypatch):
    singles = [("/generate", {"passage": "x"})]
    monkeypatch.setattr(flood, "kinds", lambda texts: {"singles": singles, "lists": singles})
    said = []
    found = asyncio.run(flood.measure(server.url, 0.5, 1, loads=(0.5, 4.0), wanted=["singles"], say=said.append))
    assert [each.partition(":")[0] for each in said] == ["singles", "singles, 0.5 times that", "singles, 4 times that"]
    half, four_times = found["singles"]
    assert set(found) == {"singles"}
    assert four_times["offered"] == pytest.approx(8 * half["offered"])
    assert half["late"] == four_times["late"] == 0
    assert 0 < half["p99"] < flood.TIMEOUT_SECONDS
    assert four_times["resumed"] < flood.RESUMING_SECONDS
    assert four_times["asking"] > 0
    assert four_times["behind"] >= 0
    assert [line.startswith("| singles | ") for line in flood.table(found).splitlines()[2:]] == [True, True]
    flood.plot({"after": found}, tmp_path / "flood.png")
    assert (tmp_path / "flood.png").stat().st_size < 100_000


def test_every_damaged_file_is_named_at_the_start(serve_models, tmp_path, monkeypatch):
    # The first process that ends would be told of, where the others take longer than that.
    monkeypatch.setattr(process, "STUB_GRACE_SECONDS", READY_SECONDS)
    # A broken configuration stands outside of the table of models, from which these are told.
    damages = {name: each for name, each in DAMAGES.items() if not name.startswith("configuration")}
    for place, damage in damages.values():
        name = Path(place).parts[0]
        shutil.copytree(SOURCE / name, tmp_path / name)
        damage(tmp_path / place)
    with pytest.raises(ServerStartError) as told, serve_models(tmp_path):
        pass
    named = [line.split(":")[0].strip() for line in str(told.value).splitlines()]
    assert [name for name, (place, _) in damages.items() if Path(place).parts[0] not in named] == []


def test_a_facade_whose_log_finds_the_disk_full_answers(server):
    triton = {"triton_url": f"127.0.0.1:{server.ports['http-port']}"}
    triton["triton_grpc_url"] = f"127.0.0.1:{server.ports['grpc-port']}"
    options = {"ready_timeout": READY_SECONDS, "stop_grace": 0.0, "settings": {"models": "cola"}}
    with FacadeProcess(**triton, log_file=Path("/dev/full"), **options) as facade:
        for _ in range(3):
            answer = httpx.post(f"{facade.url}/generate", json={"passage": "x" * 50}, trust_env=False)
            assert answer.json() == {"prob": pytest.approx(0.5)}
        facade.check()


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_what_was_given_up_leaves_a_queue_that_heeds_timeouts_and_is_not_computed(server, protocol):
    url = f"127.0.0.1:{server.ports[f'{protocol}-port']}"
    hasty = {"timeout": Timeout(connect=5, read=1, deadline=1), "retry": Retry(attempts=1)}
    with (
        TridentClient(url, protocol=protocol) as patient,
        TridentClient(url, protocol=protocol, **hasty) as client,
        ThreadPoolExecutor(9) as pool,
    ):
        (before,) = patient.statistics()
        slow = pool.submit(patient.acceptability, ["slow"])
        time.sleep(0.5)
        given_up = [pool.submit(client.acceptability, ["x" * length]) for length in range(1, 9)]
        for each in given_up:
            with pytest.raises((ReadTimeoutError, OverloadedError)):
                each.result()
        assert slow.result() == pytest.approx([0.04])
        assert patient.acceptability(["x" * 20]) == pytest.approx([0.2])
        # Triton counts a request a moment after it was answered; what was given up would be counted before the last.
        deadline = time.monotonic() + 10
        while (computed := patient.statistics()[0].inferences - before.inferences) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
    assert computed == 2, "the slow one and the last one"


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_proxy_in_the_environment_is_not_asked_for_triton(server, monkeypatch, protocol):
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with TridentClient(f"127.0.0.1:{server.ports[f'{protocol}-port']}", protocol=protocol) as client:
        assert client.acceptability(["x" * 5]) == pytest.approx([0.05])


@pytest.mark.parametrize(
    "question",
    [
        Question("/generate", {"passage": "x"}, answer={"prob": 0.5}),
        Question("/generate", {"passage": ""}, 422, {"detail": "other words"}),
        Question(GRPC, ("acceptability", ["x"]), answer=[0.5]),
    ],
)
def test_another_answer_is_called_wrong(server, question):
    with Traffic(server.url, [question], clients=1, grpc_url=server.grpc_url) as traffic:
        while not traffic.counts():
            time.sleep(0.01)
    assert set(traffic.counts()) == {Outcome.WRONG}
    assert question.path in traffic.complaints[0]


def test_answers_are_the_same_where_numbers_nearly_are():
    assert same({"a": [1.0, "x"], "runtime(sec)": 1.0}, {"a": [1.001, "x"], "runtime(sec)": 2.0})
    assert not same({"a": 1.0}, {"a": 1.1})
    assert not same({"a": 1.0}, {"b": 1.0})
    assert not same([1.0], [1.0, 1.0])
    assert not same("x", "y")
    assert same(float("nan"), float("nan"))
    assert not same(0.5, float("nan"))
