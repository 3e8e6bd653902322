"""What is tried again, how often, after how long, and what the error says in the end."""

import asyncio
import time

import pytest
from trident_client import (
    AsyncTridentClient,
    BadInputError,
    ConnectTimeoutError,
    DeadlineError,
    FakeTransport,
    NotReadyError,
    OverloadedError,
    ReadTimeoutError,
    Retry,
    ServerError,
    Timeout,
    TransportError,
    TridentClient,
    TridentError,
    errors,
)
from trident_client._attempts import Attempts
from trident_client._balancing import Balancer, Balancing
from trident_client._retry import Budget

QUICK = Retry(first_wait=0.001, longest_wait=0.002)
KINDS = [BadInputError, NotReadyError, OverloadedError, ConnectTimeoutError, ReadTimeoutError, TransportError]


def first(count: int, kind: type[TridentError]):
    """Fail the first requests."""
    return lambda number: kind("it failed") if number < count else None


@pytest.mark.parametrize("kind", [TransportError, OverloadedError, ConnectTimeoutError])
async def test_what_may_pass_is_tried_again(faulty, async_faulty, kind):
    with TridentClient(transport=faulty(first(2, kind)), retry=QUICK) as client:
        assert client.embed(["four"]).tolist() == [[4]]
    async with AsyncTridentClient(transport=async_faulty(first(2, kind)), retry=QUICK) as client:
        assert (await client.embed(["four"])).tolist() == [[4]]


async def test_overload_may_be_left_to_the_caller(faulty, async_faulty):
    retry = Retry(first_wait=0.001, overloaded=False)
    transport, twin = faulty(first(1, OverloadedError)), async_faulty(first(1, OverloadedError))
    with TridentClient(transport=transport, retry=retry) as client, pytest.raises(OverloadedError):
        client.embed(["a"])
    async with AsyncTridentClient(transport=twin, retry=retry) as client:
        with pytest.raises(OverloadedError):
            await client.embed(["a"])
    assert len(transport.requests) == len(twin.twin.requests) == 1
    with TridentClient(transport=faulty(first(2, TransportError)), retry=retry) as client:
        assert client.embed(["four"]).tolist() == [[4]]


@pytest.mark.parametrize("kind", [BadInputError, NotReadyError, ReadTimeoutError, ServerError])
async def test_what_would_not_pass_is_raised_at_once(faulty, async_faulty, kind):
    transport, twin = faulty(first(1, kind)), async_faulty(first(1, kind))
    with TridentClient(transport=transport, retry=QUICK) as client, pytest.raises(kind) as caught:
        client.embed(["a"])
    assert (len(transport.requests), caught.value.attempt) == (1, 1)
    async with AsyncTridentClient(transport=twin, retry=QUICK) as client:
        with pytest.raises(kind):
            await client.embed(["a"])
    assert len(twin.twin.requests) == 1


async def test_the_last_error_says_model_attempt_server_and_cause(faulty, async_faulty):
    beneath = OSError("the wire is cut")

    def failure(number):
        error = TransportError("it failed")
        error.__cause__ = beneath
        return error

    with (
        TridentClient("far:1", transport=faulty(failure), retry=QUICK) as client,
        pytest.raises(TransportError) as caught,
    ):
        client.embed(["a"])
    async with AsyncTridentClient("far:1", transport=async_faulty(failure), retry=QUICK) as client:
        with pytest.raises(TransportError) as twin:
            await client.embed(["a"])
    for error in (caught.value, twin.value):
        assert (error.model, error.attempt, error.server, error.cause) == ("sts_embedding", 5, "far:1", beneath)
        assert str(error) == "it failed (after 5 attempts)"


@pytest.mark.parametrize("kind", [*KINDS, ServerError])
def test_every_error_of_the_tree_carries_model_attempt_and_cause(kind):
    error = kind("what", "cola", attempt=3, server="a:1")
    assert (error.model, error.attempt, error.server, error.cause) == ("cola", 3, "a:1", None)
    assert kind.__name__ in errors.__doc__
    assert issubclass(kind, TridentError)


def test_both_timeouts_are_deadline_errors_and_timeout_errors():
    for kind in (ConnectTimeoutError, ReadTimeoutError):
        assert issubclass(kind, DeadlineError)
        assert issubclass(kind, TimeoutError)


def test_retries_can_be_switched_off(faulty):
    transport = faulty(first(1, TransportError))
    with TridentClient(transport=transport, retry=Retry(attempts=1)) as client, pytest.raises(TransportError):
        client.embed(["a"])
    assert len(transport.requests) == 1


def test_waits_double_up_to_the_longest_and_differ_by_chance():
    retry = Retry(first_wait=0.1, longest_wait=0.5)
    for round_, longest in enumerate([0.1, 0.2, 0.4, 0.5, 0.5]):
        waits = [retry.wait(round_) for _ in range(200)]
        assert longest / 2 <= min(waits) < max(waits) <= longest
        assert len(set(waits)) > 100


def attempts(retry: Retry, timeout: Timeout, clock, budget: Budget | None = None) -> Attempts:
    return Attempts("cola", Balancer(["a:1"], Balancing()), retry, budget or Budget(retry), timeout, clock)


def test_the_deadline_holds_over_all_attempts():
    now = 0.0
    retry = Retry(attempts=100, first_wait=1, longest_wait=1)
    call = attempts(retry, Timeout(deadline=10), lambda: now)
    made = 0
    while True:
        _, left = call.start()
        assert left == pytest.approx(10 - now)
        made += 1
        now += min(2, left)
        wait = call.failed(TransportError("away"))
        if wait is None:
            break
        now += wait
    assert now <= 10
    assert made >= 3


def test_an_attempt_is_given_what_is_left_of_the_deadline(faulty):
    transport = faulty(first(1, TransportError))
    with TridentClient(transport=transport, retry=QUICK, timeout=Timeout(deadline=60)) as client:
        client.embed(["a"])
    one, two = (request.timeout for request in transport.requests)
    assert 0 < two < one <= 60


def test_a_spent_budget_raises_at_once_and_answers_refill_it():
    retry = Retry(budget=2, refill=0.5, first_wait=0)
    budget = Budget(retry)
    for expected in (0.0, 0.0, None):
        call = attempts(retry, Timeout(), lambda: 0.0, budget)
        call.start()
        assert call.failed(TransportError("away")) == expected
    for _ in range(2):
        budget.deposit()
    assert budget.withdraw()
    assert not budget.withdraw()


def test_a_client_with_a_spent_budget_asks_once(faulty):
    transport = faulty(first(100, TransportError))
    with TridentClient(transport=transport, retry=Retry(budget=0)) as client, pytest.raises(TransportError):
        client.embed(["a"])
    assert len(transport.requests) == 1


async def test_a_cancelled_call_is_not_tried_again(async_faulty):
    transport = async_faulty(first(100, TransportError))
    retry = Retry(first_wait=30, longest_wait=30)
    async with AsyncTridentClient(transport=transport, retry=retry) as client:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.embed(["a"]), 0.1)
        assert len(transport.twin.requests) == 1
        assert client.servers()[0].outstanding == 0


def test_when_one_batch_fails_the_others_stop_trying():
    # The first batch fails for good while the second waits half a minute to be tried again.
    def answer(request):
        if request.inputs["TEXT"][0, 0] == b"bad":
            raise ServerError("broken")
        raise TransportError("away")

    started = time.monotonic()
    with (
        TridentClient(transport=FakeTransport(answer), retry=Retry(first_wait=60, longest_wait=60)) as client,
        pytest.raises(ServerError),
    ):
        client.embed(["bad"] * 64 + ["good"] * 64)
    assert time.monotonic() - started < 25


@pytest.mark.parametrize(
    "make",
    [
        lambda: Retry(attempts=0),
        lambda: Retry(first_wait=-1),
        lambda: Retry(first_wait=3, longest_wait=2),
        lambda: Retry(budget=-1),
        lambda: Retry(refill=-1),
        lambda: Balancing(failures=0),
        lambda: Balancing(health_check_interval=0),
        lambda: Timeout(deadline=0),
        lambda: TridentClient([]),
        lambda: TridentClient(["a:1", "a:1"]),
        lambda: TridentClient("http://a:1"),
        lambda: TridentClient("localhost"),
        lambda: TridentClient(transport={}),
    ],
)
def test_settings_that_mean_nothing_are_refused(make):
    with pytest.raises(ValueError, match="must"):
        make()
