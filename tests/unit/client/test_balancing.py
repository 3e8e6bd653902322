"""Several servers: who is asked, who is left out, and who comes back."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from trident_client import (
    AsyncTridentClient,
    BadInputError,
    Balancing,
    NotReadyError,
    OverloadedError,
    ReadTimeoutError,
    Retry,
    ServerError,
    Timeout,
    TransportError,
    TridentClient,
)
from trident_client._attempts import Attempts
from trident_client._balancing import Balancer
from trident_client._retry import Budget

QUICK = Retry(first_wait=0.001, longest_wait=0.002)
SOON = Balancing(health_check_interval=0.01)
NEVER = Balancing(health_check_interval=3600)


def away(number):
    return TransportError("away")


def test_the_server_with_fewest_requests_under_way_is_asked():
    balancer = Balancer(["a", "b", "c"], Balancing())
    assert [balancer.acquire([]) for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]
    balancer.release("b", None)
    balancer.release("b", None)
    balancer.release("c", None)
    assert [balancer.acquire([]) for _ in range(3)] == ["b", "c", "b"]


def test_a_server_that_was_asked_comes_after_one_that_was_not():
    balancer = Balancer(["a", "b"], Balancing())
    balancer.acquire([])
    balancer.release("a", None)
    balancer.acquire([])
    assert balancer.acquire(["a"]) == "b"


def test_failures_in_a_row_eject_and_an_answer_between_forgives():
    balancer = Balancer(["a", "b"], Balancing(failures=2))
    for error in (TransportError("x"), None, ReadTimeoutError("x")):
        balancer.acquire(["b"])
        assert not balancer.release("a", error)
    balancer.acquire(["b"])
    assert balancer.release("a", TransportError("x"))
    assert balancer.ejected() == ["a"]
    assert {balancer.acquire([]) for _ in range(5)} == {"b"}
    balancer.restore("a")
    assert balancer.acquire([]) == "a"


@pytest.mark.parametrize("error", [BadInputError("x"), NotReadyError("x"), OverloadedError("x"), ServerError("x")])
def test_what_speaks_about_the_request_ejects_nobody(error):
    balancer = Balancer(["a", "b"], Balancing(failures=1))
    balancer.acquire(["b"])
    assert not balancer.release("a", error)
    assert balancer.ejected() == []


def test_a_single_server_is_never_ejected():
    balancer = Balancer(["a"], Balancing(failures=1))
    balancer.acquire([])
    balancer.release("a", TransportError("x"))
    assert balancer.ejected() == []


def answer_once(holds):
    """Let a server answer its next request only once this holds, however threads are run."""

    def wait(number):
        deadline = time.monotonic() + 60
        while not holds(number) and time.monotonic() < deadline:
            time.sleep(0.001)

    return wait


async def test_work_is_shared_and_a_dead_server_loses_nothing(faulty, async_faulty):
    texts = ["x" * (1 + index % 50) for index in range(64 * 20)]
    expected = [len(text) for text in texts]
    servers = {"a:1": faulty(), "b:2": faulty()}
    one, two = servers.values()
    # Each answers its first six requests only once the other was asked as often.
    one.failure = answer_once(lambda number: number >= 6 or len(two.requests) > number)
    two.failure = answer_once(lambda number: number >= 6 or len(one.requests) > number)
    with TridentClient(transport=servers, balancing=NEVER) as client:
        assert client.embed(texts)[:, 0].tolist() == expected
        assert min(len(server.requests) for server in (one, two)) > 5
        one.failure, two.failure = away, answer_once(lambda number: client.servers()[0].ejected)
        assert client.embed(texts)[:, 0].tolist() == expected
        assert [(each.url, each.ejected) for each in client.servers()] == [("a:1", True), ("b:2", False)]
        assert sum(each.outstanding for each in client.servers()) == 0
    twins = {"a:1": async_faulty(away), "b:2": async_faulty()}
    async with AsyncTridentClient(transport=twins, balancing=NEVER) as client:
        assert (await client.embed(texts))[:, 0].tolist() == expected
        assert [each.ejected for each in client.servers()] == [True, False]
        assert sum(each.outstanding for each in client.servers()) == 0


def test_a_server_that_is_left_out_gets_no_requests(faulty):
    servers = {"a:1": faulty(away), "b:2": faulty()}
    with TridentClient(transport=servers, balancing=NEVER) as client:
        for _ in range(50):
            client.embed(["a"])
        assert len(servers["a:1"].requests) == 2


async def test_a_server_comes_back_when_it_is_ready(faulty, async_faulty):
    def until(holds, seconds=10.0):
        deadline = time.monotonic() + seconds
        while not holds() and time.monotonic() < deadline:
            yield
        assert holds()

    servers = {"a:1": faulty(away), "b:2": faulty()}
    servers["a:1"].is_ready = False
    with TridentClient(transport=servers, balancing=SOON) as client:
        for _ in range(4):
            client.embed(["a"])
        for _ in until(lambda: servers["a:1"].ready_calls > 2):
            time.sleep(0.005)
        assert client.servers()[0].ejected
        servers["a:1"].failure = lambda number: None
        servers["a:1"].is_ready = True
        for _ in until(lambda: not client.servers()[0].ejected):
            time.sleep(0.005)
        before = len(servers["a:1"].requests)
        for _ in range(4):
            client.embed(["a"])
        assert len(servers["a:1"].requests) > before
    twins = {"a:1": async_faulty(away), "b:2": async_faulty()}
    twins["a:1"].twin.is_ready = False
    async with AsyncTridentClient(transport=twins, balancing=SOON) as client:
        for _ in range(4):
            await client.embed(["a"])
        for _ in until(lambda: twins["a:1"].twin.ready_calls > 2):
            await asyncio.sleep(0.005)
        assert client.servers()[0].ejected
        twins["a:1"].twin.is_ready = True
        for _ in until(lambda: not client.servers()[0].ejected):
            await asyncio.sleep(0.005)


def test_health_checks_end_with_the_client(faulty):
    client = TridentClient(transport={"a:1": faulty(away), "b:2": faulty()}, balancing=SOON)
    client.embed(["a"])
    client.embed(["a"])
    client.close()
    deadline = time.monotonic() + 10
    while any(thread.name == "trident-health" for thread in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.005)
    assert not any(thread.name == "trident-health" for thread in threading.enumerate())


async def test_health_checks_end_with_the_asynchronous_client_too(async_faulty):
    client = AsyncTridentClient(transport={"a:1": async_faulty(away), "b:2": async_faulty()}, balancing=SOON)
    before = asyncio.all_tasks()
    await client.embed(["a"])
    await client.embed(["a"])
    # Beside it there may be the task of its wait.
    assert "trident-health" in {task.get_name() for task in asyncio.all_tasks() - before}
    await client.close()
    assert asyncio.all_tasks() == before


async def test_closing_ends_the_wait_for_another_attempt(faulty, async_faulty):
    hourly = {"retry": Retry(first_wait=3600, longest_wait=3600), "timeout": Timeout(deadline=7200)}
    transport, twin = faulty(away), async_faulty(away)
    client = TridentClient(transport=transport, **hourly)
    with ThreadPoolExecutor(1) as caller:
        call = caller.submit(client.embed, ["a"])
        while not transport.requests:
            time.sleep(0.005)
        client.close()
        assert isinstance(call.exception(30), TransportError)
    client = AsyncTridentClient(transport=twin, **hourly)
    call = asyncio.create_task(client.embed(["a"]))
    while not twin.twin.requests:
        await asyncio.sleep(0.005)
    await client.close()
    with pytest.raises(TransportError):
        await asyncio.wait_for(call, 30)


@pytest.mark.parametrize("kind", [NotReadyError, ReadTimeoutError])
def test_what_another_server_may_answer_is_asked_there_once(faulty, kind):
    def failing(number):
        return kind("not here")

    servers = {"a:1": faulty(failing), "b:2": faulty()}
    with TridentClient(transport=servers, retry=QUICK) as client:
        assert client.embed(["four"]).tolist() == [[4]]
        servers["b:2"].failure = failing
        before = sum(len(each.requests) for each in servers.values())
        with pytest.raises(kind) as caught:
            client.embed(["a"])
        assert sum(len(each.requests) for each in servers.values()) == before + 2
        assert caught.value.attempt == 2


async def test_when_all_are_away_one_error_names_them(faulty, async_faulty):
    message = r"none of the servers can be reached \(a:1, b:2\); the last said: away \(after 5 attempts\)"
    with TridentClient(transport={"a:1": faulty(away), "b:2": faulty(away)}, retry=QUICK) as client:
        with pytest.raises(TransportError, match=message):
            client.embed(["a"] * 640)
        with pytest.raises(TransportError, match=message):
            client.embed(["a"])
    twins = {"a:1": async_faulty(away), "b:2": async_faulty(away)}
    async with AsyncTridentClient(transport=twins, retry=QUICK) as client:
        with pytest.raises(TransportError, match=message):
            await client.embed(["a"] * 640)


def test_a_server_that_others_found_away_counts_though_this_request_did_not_ask_it():
    balancer = Balancer(["a:1", "b:2"], Balancing(failures=1))
    balancer.release(balancer.acquire(["b:2"]), away(0))
    retry = Retry(attempts=1)
    attempts = Attempts(None, balancer, retry, Budget(retry), Timeout())
    assert attempts.start()[0] == "b:2"
    error = TransportError("away")
    assert attempts.failed(error) is None
    assert "none of the servers can be reached (a:1, b:2); the last said: away" in str(error)


async def test_ready_tells_how_it_is_and_waits_for_no_better(faulty, async_faulty):
    away = faulty(lambda number: TransportError("away"))
    twin = async_faulty(lambda number: TransportError("away"))
    away.is_ready = twin.twin.is_ready = False
    with TridentClient(transport=away) as client, pytest.raises(TransportError):
        client.ready()
    async with AsyncTridentClient(transport=twin) as client:
        with pytest.raises(TransportError):
            await client.ready()
    assert away.ready_calls == twin.twin.ready_calls == 1


async def test_ready_asks_for_the_tasks_own_models_or_for_those_that_are_named(faulty, async_faulty, monkeypatch):
    asked = []
    transport, twin = faulty(), async_faulty()
    for each in (transport, twin.twin):
        monkeypatch.setattr(each, "ready", lambda models: not asked.append(models))
    with TridentClient(transport=transport) as client:
        assert client.ready()
        assert client.ready(["sts_ko"])
    async with AsyncTridentClient(transport=async_faulty()) as client:
        assert await client.ready(["sts_ko"])
    assert {"cola", "qa", "sts"} < set(asked[0])
    assert asked[1] == ("sts_ko",)


async def test_ready_needs_one_server_with_all_models(faulty, async_faulty):
    servers = {"a:1": faulty(), "b:2": faulty()}
    with TridentClient(transport=servers) as client:
        servers["a:1"].is_ready = False
        assert client.ready()
        assert client.ready()
        servers["b:2"].is_ready = False
        assert not client.ready()
    twins = {"a:1": async_faulty(), "b:2": async_faulty()}
    async with AsyncTridentClient(transport=twins) as client:
        twins["a:1"].twin.is_ready = False
        assert await client.ready()
        assert await client.ready()
        twins["b:2"].twin.is_ready = False
        assert not await client.ready()


def test_many_threads_lose_nothing_while_servers_come_and_go(faulty):
    random_faults = {
        "a:1": faulty(lambda number: TransportError("away") if number % 3 == 0 else None),
        "b:2": faulty(lambda number: OverloadedError("full") if number % 7 == 0 else None),
        "c:3": faulty(),
    }
    with TridentClient(transport=random_faults, retry=QUICK, balancing=SOON) as client, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda index: client.embed(["x" * index])[0, 0], range(1, 400)))
        assert sum(each.outstanding for each in client.servers()) == 0
    assert answers == list(range(1, 400))
