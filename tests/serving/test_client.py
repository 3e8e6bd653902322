"""The client against the real Triton."""

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from trident_client import (
    AsyncTridentClient,
    BadInputError,
    NotReadyError,
    ServerError,
    Timeout,
    TransportError,
    TridentClient,
    TruncationWarning,
)
from trident_server.ports import free_ports

pytestmark = pytest.mark.serving

PAIRS = [
    ("A man is playing a guitar.", "Someone plays an instrument."),
    ("A man is playing a guitar.", "The stock market fell sharply."),
    ("고양이가 잠을 잔다.", "🙂 e\u0301 a\0b"),
]


def url(triton, protocol: str) -> str:
    return triton.http_url if protocol == "http" else triton.grpc_url


@pytest.fixture(params=["http", "grpc"])
def client(triton, request):
    with TridentClient(url(triton, request.param), protocol=request.param) as client:
        yield client


def test_similar_sentences_score_high_and_unrelated_low(client):
    similar, unrelated, _ = client.similarity(PAIRS)
    assert similar > 0.5
    assert unrelated < 0.2


async def test_all_four_ways_agree(triton):
    answers = []
    for protocol in ("http", "grpc"):
        with TridentClient(url(triton, protocol), protocol=protocol) as client:
            answers.append(client.similarity(PAIRS))
        async with AsyncTridentClient(url(triton, protocol), protocol=protocol) as client:
            answers.append(await client.similarity(PAIRS))
    for answer in answers[1:]:
        assert np.allclose(answer, answers[0], atol=0.01)


def test_embeddings_have_unit_norm_and_their_product_is_the_similarity(client):
    first, second = client.embed([PAIRS[0][0]]), client.embed([PAIRS[0][1]])
    assert first.shape == (1, 384)
    assert first.dtype == np.float32
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-5)
    assert float((first * second).sum()) == pytest.approx(float(client.similarity(PAIRS[:1])[0]), abs=0.01)


def test_lists_longer_than_a_batch_come_back_in_order(client):
    texts = [f"Number {index} likes {'very ' * (index % 9)}long sentences." for index in range(200)]
    together = client.embed(texts)
    assert together.shape == (200, 384)
    for index in (0, 63, 64, 199):
        assert float(together[index] @ client.embed([texts[index]])[0]) > 0.999


def test_truncation_is_reported(client):
    with pytest.warns(TruncationWarning, match="1"):
        client.embed(["short", "word " * 500])
    with pytest.warns(TruncationWarning, match="0"):
        client.similarity([("word " * 500, "short")])


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_an_empty_text_is_refused_and_the_next_good_one_answered(client, text):
    with pytest.raises(BadInputError, match="is empty") as caught:
        client.embed([text])
    assert caught.value.model == "sts_embedding"
    assert client.embed(["fine"]).shape == (1, 384)


def test_a_million_bytes_are_taken_and_one_more_refused(client):
    with pytest.warns(TruncationWarning):
        assert client.embed(["a " * 500_000]).shape == (1, 384)
    with pytest.raises(BadInputError, match="1000000"):
        client.embed(["a " * 500_000 + "a"])


def test_ready(client):
    assert client.ready()


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_no_server_is_a_transport_error(protocol):
    (port,) = free_ports(1)
    with TridentClient(f"127.0.0.1:{port}", protocol=protocol, timeout=Timeout(connect=2, read=5)) as client:
        with pytest.raises(TransportError):
            client.embed(["a"])
        with pytest.raises(TransportError):
            client.ready()


def test_32_threads_share_one_client(client):
    """``TRIDENT_TEST_SECONDS=60`` makes it a minute's test."""
    seconds = float(os.environ.get("TRIDENT_TEST_SECONDS", "2"))
    texts = [f"Thread {index} asks something {'very ' * (index % 5)}simple." for index in range(32)]
    alone = client.embed(texts)
    start = threading.Barrier(32, timeout=30)

    def ask(index: int) -> list[float]:
        start.wait()
        cosines = [float(client.embed([texts[index]])[0] @ alone[index])]
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            cosines.append(float(client.embed([texts[index]])[0] @ alone[index]))
        return cosines

    with ThreadPoolExecutor(32) as pool:
        cosines = [cosine for each in pool.map(ask, range(32)) for cosine in each]
    assert len(cosines) >= 32
    # In int8 what is at the edge of two numbers becomes either, by what a batch adds up first.
    assert min(cosines) > 0.998


def test_streams_agree_with_lists_and_bad_items_do_not_stop_them(client):
    texts = [f"Number {index} likes long sentences." for index in range(150)]
    texts[70] = " "
    reported = {}
    streamed = list(
        client.stream_similarity(((text, "Somebody likes them.") for text in texts), on_bad_item=reported.__setitem__)
    )
    assert list(reported) == [70]
    assert "first sentences[70] is empty" in str(reported[70])
    good = [(text, "Somebody likes them.") for text in texts if text.strip()]
    assert np.allclose(np.delete(streamed, 70), client.similarity(good), atol=0.01)


def test_a_question_that_the_server_refuses_does_not_stop_a_stream(client):
    questions = [("Where is it?", "It is here."), ("why " * 200, "It is here."), ("Where is it?", "It is there.")]
    reported = {}
    answers = list(client.stream_answers(questions, on_bad_item=reported.__setitem__))
    assert [len(each) for each in answers] == [1, 0, 1]
    assert "at most 140 are accepted" in str(reported[1])


def test_statistics_count_what_was_asked(client):
    def counted():
        return {each.name: each for each in client.statistics()}

    before = counted()
    client.similarity(PAIRS)
    # Triton counts a request when it lets go of it, which may be after its answer has come.
    deadline = time.monotonic() + 10
    while (after := counted())["sts"].successes == before["sts"].successes and time.monotonic() < deadline:
        time.sleep(0.05)
    assert after["sts"].inferences - before["sts"].inferences == len(PAIRS)
    assert after["sts"].successes - before["sts"].successes == 1
    assert after["sts_encoder"].compute_infer_seconds > before["sts_encoder"].compute_infer_seconds
    assert after["sts"].server == client.servers()[0].url


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.acceptability(["a"], model="nosuch"),
        lambda client: client.similarity([("a", "b")], model="nosuch"),
        lambda client: client.embed(["a"], model="nosuch"),
        lambda client: client.embed(["a"], model="nosuch", prompt_name="query"),
        lambda client: client.embed([], model="nosuch"),
        lambda client: client.answer("a", "b", model="nosuch"),
        lambda client: client.classify(["a"], model="nosuch"),
        lambda client: client.rerank("a", ["b"], model="nosuch"),
        lambda client: list(client.stream_embeddings(["a"], model="nosuch")),
    ],
)
def test_an_unknown_model_is_not_ready_at_once_and_those_that_are_served_are_named(client, ask):
    with pytest.raises(NotReadyError, match="nosuch") as caught:
        ask(client)
    assert caught.value.attempt == 1
    assert served_by(caught.value) == sorted(each.name for each in client.models())


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_an_unknown_model_is_named_with_those_that_are_served_in_an_event_loop(triton, protocol):
    async def ask() -> None:
        async with AsyncTridentClient(url(triton, protocol), protocol=protocol) as client:
            with pytest.raises(NotReadyError, match="nosuch") as caught:
                await client.embed(["a"], model="nosuch")
            assert served_by(caught.value) == sorted(each.name for each in await client.models())

    asyncio.run(ask())


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda client: client.rerank("a", ["b"], model="sts"), "sts is of the task sts"),
        (lambda client: client.acceptability(["a"], model="qa"), "qa is of the task qa"),
        (lambda client: client.similarity([("a", "b")], model="cola"), "cola is of the task cola"),
        (lambda client: client.answer("a", "b", model="sts"), "sts is of the task sts"),
        (lambda client: client.classify(["a"], model="sts"), "a set of the task classify"),
    ],
)
def test_a_model_of_another_task_is_told_as_such(client, ask, said):
    with pytest.raises(BadInputError, match=said):
        ask(client)


def served_by(error: NotReadyError) -> list[str]:
    """Return the sets that an error names."""
    return str(error).partition("served are: ")[2].split(", ")


@pytest.mark.parametrize("model", ["none", "cola?x=1", "cola/ready", "../cola", "고"])
def test_a_model_that_nobody_serves_is_not_ready_whatever_its_name(client, model):
    with pytest.raises(NotReadyError):
        client.acceptability(["I am a boy."], model=model)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_server_that_does_not_let_clients_use_shared_memory_is_a_clear_error(triton, own_processes, protocol):
    with TridentClient(url(triton, protocol), protocol=protocol, shared_memory=True) as client:
        with pytest.raises(ServerError, match="does not let clients use shared memory"):
            client.embed(["long enough to be handed over: " + "x" * 1000] * 64)
        assert client.embed(["short"]).shape == (1, 384)
    assert own_processes.regions("client-") == []
