"""The generator forms: order, flat memory, bad items, and what a stream that is left behind leaves behind."""

import asyncio
import itertools
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from trident_client import (
    AsyncFakeTransport,
    AsyncTridentClient,
    BadInputError,
    FakeTransport,
    Retry,
    ServerError,
    Timeout,
    TransportError,
    TridentClient,
    TruncationWarning,
)


def lengths(request):
    texts = next(iter(request.inputs.values()))[:, 0]
    for place, text in enumerate(texts):
        if text == b"refuse":
            raise BadInputError(f"TEXT {place} is refused", request.model)
    values = np.array([[len(text)] for text in texts], dtype=np.float32)
    cut = {name: (values > 1000).astype(np.int32) for name in request.outputs if name.startswith("TRUNCATED")}
    counts = {"TOKEN_COUNT": values.astype(np.int32) + 2} if "TOKEN_COUNT" in request.outputs else {}
    return {request.outputs[0]: values, **cut, **counts}


def words(request):
    (context,) = request.inputs["CONTEXT"][:, 0]
    if context == b"refuse":
        raise BadInputError("CONTEXT is refused", request.model)
    return {
        "ANSWER": np.array([[context.split()[0]]], dtype=np.object_),
        "SCORE": np.ones((1, 1), dtype=np.float32),
        "START": np.zeros((1, 1), dtype=np.int32),
        "END": np.ones((1, 1), dtype=np.int32),
    }


@pytest.fixture
def client():
    with TridentClient(transport=FakeTransport(lengths)) as client:
        yield client


async def collect(items):
    return [item async for item in items]


async def test_every_task_streams_what_its_list_form_returns(client):
    texts = ["x" * (1 + index % 200) for index in range(300)]
    pairs = [(text, "고양이") for text in texts]
    async with AsyncTridentClient(transport=AsyncFakeTransport(lengths)) as twin:
        for method, stream, items in (
            ("acceptability", "stream_acceptability", texts),
            ("embed", "stream_embeddings", texts),
            ("similarity", "stream_similarity", pairs),
        ):
            whole = getattr(client, method)(items)
            parts = list(getattr(client, stream)(iter(items)))
            assert np.array_equal(np.array(parts), whole)
            assert np.array_equal(np.array(await collect(getattr(twin, stream)(items))), whole)
    assert all(type(each) is float for each in client.stream_similarity(pairs[:2]))
    questions = [("Who?", f"{index}고 b") for index in range(9)]
    with TridentClient(transport=FakeTransport(words)) as client:
        assert list(client.stream_answers(questions)) == client.answer_many(questions)
    async with AsyncTridentClient(transport=AsyncFakeTransport(words)) as twin:
        assert [spans[0].answer for spans in await collect(twin.stream_answers(questions))] == [
            f"{index}고" for index in range(9)
        ]


def test_a_stream_may_have_no_end(client):
    endless = ("x" * (1 + index % 9) for index in itertools.count())
    found = list(itertools.islice(client.stream_acceptability(endless), 1000))
    assert found == [1 + index % 9 for index in range(1000)]


async def test_an_asynchronous_source_may_have_no_end():
    async def endless():
        for index in itertools.count():
            yield "x" * (1 + index % 9)

    async with AsyncTridentClient(transport=AsyncFakeTransport(lengths)) as client:
        found = []
        async for each in client.stream_acceptability(endless()):
            found.append(each)
            if len(found) == 1000:
                break
    assert found == [1 + index % 9 for index in range(1000)]


async def test_a_stream_reads_only_a_few_batches_ahead(client):
    read = 0

    def source():
        nonlocal read
        for _ in range(100_000):
            read += 1
            yield "text"

    results = client.stream_acceptability(source())
    next(results)
    assert read <= 64 * (4 * 2 + 1)
    read = 0
    async with AsyncTridentClient(transport=AsyncFakeTransport(lengths)) as twin:
        async for _ in twin.stream_acceptability(source()):
            break
    assert read <= 64 * (4 * 2 + 1)


def test_memory_is_flat_however_long_the_stream(client):
    def peak(count):
        source = (f"{index} " + "x" * 1000 for index in range(count))
        client._sender._transports["transport"].requests = Forgetful()
        tracemalloc.start()
        try:
            sum(client.stream_acceptability(source, on_truncation=lambda cut: None))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    class Forgetful(list):
        def append(self, item):
            pass

    peak(2_000)
    assert peak(40_000) < 2 * peak(4_000)


async def test_bad_items_are_told_with_their_place_and_the_rest_is_answered(client):
    texts = ["text"] * 500
    for place in (0, 65, 66, 499):
        texts[place] = "refuse"
    texts[130] = 7
    texts[131] = "\udc80"
    texts[132] = " "
    reported = {}
    found = list(client.stream_acceptability(texts, on_bad_item=reported.__setitem__))
    assert sorted(reported) == [0, 65, 66, 130, 131, 132, 499]
    assert str(reported[65]) == "sentences[65]: TEXT 0 is refused"
    assert reported[130].index == 130
    assert np.flatnonzero(np.isnan(found)).tolist() == sorted(reported)
    assert np.nansum(found) == 4 * 493
    twin_reported = {}
    async with AsyncTridentClient(transport=AsyncFakeTransport(lengths)) as twin:
        again = await collect(twin.stream_acceptability(texts, on_bad_item=twin_reported.__setitem__))
    assert np.array_equal(again, found, equal_nan=True)
    assert {place: str(error) for place, error in twin_reported.items()} == {
        place: str(error) for place, error in reported.items()
    }


def test_a_bad_item_has_an_empty_result(client):
    reported = []
    found = list(client.stream_embeddings(["a", "refuse"], on_bad_item=lambda index, error: reported.append(index)))
    assert [each.shape for each in found] == [(1,), (0,)]
    with TridentClient(transport=FakeTransport(words)) as asking:
        answers = list(
            asking.stream_answers(
                [("a", "refuse"), ("a", "b")], on_bad_item=lambda index, error: reported.append(index)
            )
        )
    assert [len(each) for each in answers] == [0, 1]
    assert reported == [1, 0]


def test_the_bad_item_is_told_before_its_result_comes(client):
    reported = []
    for index, value in enumerate(
        client.stream_acceptability(["a", "refuse", "b"], on_bad_item=lambda index, error: reported.append(index))
    ):
        assert np.isnan(value) == (index in reported)
    assert reported == [1]


async def test_tokens_are_counted_where_that_is_asked_for(client):
    texts = ["x" * (1 + index % 9) for index in range(300)]
    counts = [len(text) + 2 for text in texts]
    texts[70], counts[70] = "refuse", 0
    fine, fine_counts = texts[:70] + texts[71:], counts[:70] + counts[71:]
    reported: list[int] = []
    client.embed(fine, on_token_counts=reported.extend)
    assert reported == fine_counts
    reported.clear()
    for number, _ in enumerate(
        client.stream_embeddings(texts, on_token_counts=reported.extend, on_bad_item=lambda index, error: None), 1
    ):
        assert len(reported) >= number
    assert reported == counts
    async with AsyncTridentClient(transport=AsyncFakeTransport(lengths)) as twin:
        reported.clear()
        await twin.embed(fine, on_token_counts=reported.extend)
        assert reported == fine_counts
        reported.clear()
        await collect(
            twin.stream_embeddings(texts, on_token_counts=reported.extend, on_bad_item=lambda index, error: None)
        )
        assert reported == counts
    transport = FakeTransport(lengths)
    with TridentClient(transport=transport) as client:
        client.embed(["a"])
    assert "TOKEN_COUNT" not in transport.requests[0].outputs


def test_nothing_to_embed_has_no_tokens():
    reported: list[list[int]] = []
    described = {"sts_embedding": {"output": [{"name": "EMBEDDING", "dims": ["384"]}]}}
    with TridentClient(transport=FakeTransport(lengths, configurations=described)) as client:
        client.embed([], on_token_counts=reported.append)
    assert reported == [[]]


async def test_a_stream_may_be_given_less_or_more_concurrency_than_its_client():
    under_way = seen = 0

    class Slow(AsyncFakeTransport):
        async def infer(self, request):
            nonlocal under_way, seen
            under_way += 1
            seen = max(seen, under_way)
            await asyncio.sleep(0.001)
            under_way -= 1
            return await super().infer(request)

    def slow(request):
        nonlocal under_way, seen
        with lock:
            under_way += 1
            seen = max(seen, under_way)
        time.sleep(0.001)
        with lock:
            under_way -= 1
        return lengths(request)

    lock = threading.Lock()
    texts = ["text"] * 64 * 12
    async with AsyncTridentClient(transport=Slow(lengths)) as twin:
        for concurrency, most in ((1, 1), (3, 3), (None, 4), (6, 6)):
            seen = 0
            await collect(twin.stream_acceptability(texts, concurrency=concurrency))
            assert seen == most
        with pytest.raises(ValueError, match="at least 1"):
            await collect(twin.stream_acceptability(texts, concurrency=0))
    with TridentClient(transport=FakeTransport(slow)) as client:
        for concurrency, most in ((1, 1), (2, 2), (None, 4)):
            seen = 0
            list(client.stream_acceptability(texts, concurrency=concurrency))
            assert 0 < seen <= most
        # Six are under way at once, which a barrier of six waits for.
        barrier = threading.Barrier(6)

        def together(request):
            barrier.wait(30)
            return lengths(request)

        with TridentClient(transport=FakeTransport(together)) as wide:
            assert len(list(wide.stream_acceptability(texts, concurrency=6))) == len(texts)
        with pytest.raises(ValueError, match="at least 1"):
            list(client.stream_acceptability(texts, concurrency=0))


async def test_concurrency_is_each_calls_own():
    # Either call has two under way at once, and neither waits for the other: a barrier of four lets none through else.
    texts, barrier = ["text"] * 64 * 2, threading.Barrier(4)

    def together(request):
        barrier.wait(30)
        return lengths(request)

    with TridentClient(transport=FakeTransport(together), concurrency=2) as client, ThreadPoolExecutor(2) as callers:
        streamed = callers.submit(lambda: list(client.stream_acceptability(texts)))
        assert len(client.acceptability(texts)) == len(streamed.result(30)) == len(texts)

    under_way, all_in = 0, asyncio.Event()

    class Together(AsyncFakeTransport):
        async def infer(self, request):
            nonlocal under_way
            under_way += 1
            if under_way == 4:
                all_in.set()
            await asyncio.wait_for(all_in.wait(), 30)
            return await super().infer(request)

    async with AsyncTridentClient(transport=Together(lengths), concurrency=2) as twin:
        whole, parts = await asyncio.gather(twin.acceptability(texts), collect(twin.stream_acceptability(texts)))
    assert len(whole) == len(parts) == len(texts)


@pytest.mark.parametrize("bad", ["refuse", " "])
@pytest.mark.parametrize("count", [1, 10, 64, 65, 300])
def test_an_error_of_a_list_names_the_item_by_its_place_in_the_list(client, count, bad):
    texts = ["text"] * (count - 1) + [bad]
    with pytest.raises(BadInputError, match=r"is empty|is refused") as caught:
        client.embed(texts)
    assert caught.value.index == count - 1
    if count > 1:
        assert f"texts[{count - 1}]" in str(caught.value)
    with pytest.raises(BadInputError) as caught:
        list(client.stream_embeddings(texts))
    assert caught.value.index == count - 1


def test_a_stream_that_fails_raises_what_a_list_raises():
    def fail(request):
        raise ServerError("broken", request.model)

    with TridentClient(transport=FakeTransport(fail)) as client, pytest.raises(ServerError):
        list(client.stream_acceptability(["a"] * 1000, on_bad_item=lambda index, error: None))


def test_truncation_is_told_with_the_place_in_the_stream(client):
    texts = ["short"] * 100 + ["long" * 300]
    cut = []
    list(client.stream_embeddings(texts, on_truncation=cut.extend))
    assert cut == [100]
    with pytest.warns(TruncationWarning, match="100"):
        list(client.stream_embeddings(texts))


def test_a_stream_left_behind_stops_sending():
    transport = FakeTransport(lengths)
    with TridentClient(transport=transport, concurrency=1) as client:
        results = client.stream_acceptability("text" for _ in range(100_000))
        next(results)
        del results
    assert len(transport.requests) <= 4


def test_when_one_request_fails_the_others_are_not_tried_again():
    waiting = threading.Barrier(2)
    requested: list[int] = []

    def fail(request):
        first = request.inputs["TEXT"][0, 0] == b"first"
        requested.append(first)
        waiting.wait(30)
        if first:
            raise ServerError("broken", request.model)
        # Its next attempt would come in an hour.
        raise TransportError("away", request.model)

    texts = ["first"] * 64 + ["second"] * 64
    hourly = Retry(first_wait=3600, longest_wait=3600)
    started = time.monotonic()
    with (
        TridentClient(transport=FakeTransport(fail), retry=hourly, timeout=Timeout(deadline=7200)) as client,
        pytest.raises(ServerError),
    ):
        client.embed(texts)
    assert time.monotonic() - started < 30
    assert sorted(requested) == [False, True]


@pytest.mark.parametrize("method", ["stream_acceptability", "stream_embeddings"])
def test_one_text_is_not_a_stream_of_letters(client, method):
    with pytest.raises(BadInputError, match="list of str, got one str"):
        list(getattr(client, method)("one text"))


def test_an_empty_stream_has_no_results(client):
    assert list(client.stream_similarity([])) == []
