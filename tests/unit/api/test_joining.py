"""Requests that come together are carried together: at once where they can be, in order, and each with its own end."""

import asyncio
from collections.abc import Sequence

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from trident_api import tracing
from trident_api.app import create_app
from trident_api.joining import MAX_CALLS, MAX_ITEMS, Joiner
from trident_api.settings import ApiSettings
from trident_client import AsyncFakeTransport, AsyncTridentClient, BadInputError, ServerError


class Carrier:
    """Doubles numbers when it, or the call by its turn, is let go; knows what it was given and what was cancelled."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.go = asyncio.Event()
        self.turns = [asyncio.Event() for _ in range(9)]
        self.cancelled = 0
        self.refused: dict[int, BaseException] = {}

    async def __call__(self, items: Sequence[int]) -> list[int]:
        self.calls.append(list(items))
        gates = [asyncio.ensure_future(gate.wait()) for gate in (self.go, *self.turns[len(self.calls) - 1 :][:1])]
        try:
            await asyncio.wait(gates, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            for gate in gates:
                gate.cancel()
        for item in items:
            if item in self.refused:
                raise self.refused[item]
        return [2 * item for item in items]


@pytest.fixture
def carrier() -> Carrier:
    return Carrier()


@pytest.fixture
def joiner(carrier) -> Joiner[int, int]:
    return Joiner(carrier)


async def settle() -> None:
    """Let everything happen that waits for nothing but its turn: told by turns, for a moment may be too short."""
    for _ in range(100):
        await asyncio.sleep(0)


async def begin(joiner, *asked: list[int]) -> list[asyncio.Task]:
    tasks = [asyncio.ensure_future(joiner(items)) for items in asked]
    await settle()
    return tasks


async def test_the_first_calls_go_at_once_and_what_comes_meanwhile_goes_together(joiner, carrier):
    tasks = await begin(joiner, [1], [2], [3], [4, 5], [6])
    assert carrier.calls == [[1], [2]]
    carrier.go.set()
    assert await asyncio.gather(*tasks) == [[2], [4], [6], [8, 10], [12]]
    assert carrier.calls == [[1], [2], [3, 4, 5], [6]]


async def test_a_lone_request_waits_for_nobody(joiner, carrier):
    carrier.go.set()
    for number in range(5):
        assert await joiner([number]) == [2 * number]
    assert carrier.calls == [[number] for number in range(5)]


async def test_a_second_call_starts_when_half_as_many_requests_wait_as_the_first_carries(joiner, carrier):
    first = await begin(joiner, [1], [2])
    joined = await begin(joiner, [3] * 9, *[[4]] * 6)
    carrier.turns[0].set()
    await first[0]
    await settle()
    assert carrier.calls[2:] == [[3] * 9 + [4] * 3]
    carrier.turns[1].set()
    await first[1]
    await settle()
    assert carrier.calls[3:] == [[4] * 3]
    carrier.turns[3].set()
    await asyncio.gather(*joined[4:])
    one = await begin(joiner, [5])
    assert len(carrier.calls) == 4
    another = await begin(joiner, [6])
    assert carrier.calls[4:] == [[5, 6]]
    carrier.go.set()
    await asyncio.gather(*joined, *one, *another)


async def test_of_many_who_ask_at_once_no_call_takes_more_than_its_half(joiner, carrier):
    first = await begin(joiner, [0])
    tasks = await begin(joiner, *[[number] for number in range(1, 32)])
    carrier.turns[1].set()
    await tasks[0]
    carrier.turns[0].set()
    await asyncio.gather(*first)
    await settle()
    assert [len(call) for call in carrier.calls] == [1, 1, 16, 14]
    carrier.go.set()
    await asyncio.gather(*tasks)


async def test_what_waits_goes_as_soon_as_no_call_is_under_way(joiner, carrier):
    first = await begin(joiner, [1], [2])
    joined = await begin(joiner, [3], [4], [5], [6], [7])
    carrier.turns[0].set()
    carrier.turns[1].set()
    await asyncio.gather(*first)
    await settle()
    assert carrier.calls[2:] == [[3, 4, 5], [6, 7]]
    last = await begin(joiner, [8])
    carrier.turns[3].set()
    await asyncio.gather(*joined[3:])
    await settle()
    assert carrier.calls[4:] == []
    carrier.turns[2].set()
    await asyncio.gather(*joined)
    await settle()
    assert carrier.calls[4:] == [[8]]
    carrier.go.set()
    assert await asyncio.gather(*last) == [[16]]


async def test_a_call_holds_no_more_than_a_batch_and_nobody_is_overtaken(joiner, carrier):
    first = await begin(joiner, *[[0]] * MAX_CALLS)
    rest = await begin(joiner, [1] * 40, [2] * 30, [3] * 20, [4] * 64, [5])
    carrier.go.set()
    assert [set(found) for found in await asyncio.gather(*rest)] == [{2}, {4}, {6}, {8}, {10}]
    await asyncio.gather(*first)
    assert carrier.calls[MAX_CALLS:] == [[1] * 40, [2] * 30 + [3] * 20, [4] * 64, [5]]


@pytest.mark.parametrize("items", [[], list(range(MAX_ITEMS + 1))])
async def test_no_items_and_more_than_a_batch_are_carried_past_the_others(joiner, carrier, items):
    await begin(joiner, *[[0]] * MAX_CALLS)
    (task,) = await begin(joiner, items)
    carrier.go.set()
    assert await task == [2 * item for item in items]
    assert carrier.calls[-1] == items


async def test_a_bad_item_is_told_to_whose_it_is_and_the_others_are_answered(joiner, carrier):
    carrier.refused[4] = BadInputError("no fours")
    tasks = await begin(joiner, [1], [2], [3], [4, 5], [6], [7], [8])
    carrier.go.set()
    *others, bad, last, _, _ = await asyncio.gather(*tasks, return_exceptions=True)
    assert [*others, last] == [[2], [4], [6], [12]]
    assert str(bad) == "no fours"
    assert carrier.calls[2:] == [[3, 4, 5, 6], [7, 8], [3], [4, 5], [6]]


async def test_what_fails_for_other_reasons_fails_for_all_and_is_not_tried_again(joiner, carrier):
    carrier.refused[4] = ServerError("away")
    tasks = await begin(joiner, [1], [2], [3], [4])
    carrier.go.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(each) for each in found] == ["[2]", "[4]", "away", "away"]
    assert len(carrier.calls) == 3
    assert await joiner([7]) == [14]


async def test_a_call_that_is_cancelled_from_below_leaves_nobody_waiting(joiner, carrier):
    carrier.refused[3] = asyncio.CancelledError()
    tasks = await begin(joiner, [1], [2], [3], [4])
    carrier.go.set()
    _, waiting = await asyncio.wait(tasks, timeout=5)
    assert not waiting
    assert [task.cancelled() for task in tasks] == [False, False, True, True]
    assert await joiner([5]) == [10]


async def test_one_who_leaves_takes_nothing_from_the_others(joiner, carrier):
    first = await begin(joiner, [1], [2])
    waiting = await begin(joiner, [3], [4], [5])
    waiting[1].cancel()
    carrier.go.set()
    await asyncio.gather(*first)
    assert await waiting[0] == [6]
    assert await waiting[2] == [10]
    assert carrier.calls[2:] == [[3, 5]]


async def test_a_call_is_given_up_when_all_who_wait_for_it_have_left(joiner, carrier):
    carried = await begin(joiner, [1], [2])
    together = await begin(joiner, [3], [4])
    carried[0].cancel()
    await settle()
    # The call that was given up made room for one of both.
    assert (carrier.cancelled, carrier.calls[2:]) == (1, [[3, 4]])
    together[0].cancel()
    await settle()
    assert carrier.cancelled == 1
    together[1].cancel()
    await settle()
    assert carrier.cancelled == 2
    carrier.go.set()
    assert await carried[1] == [4]
    assert await joiner([5]) == [10]


@pytest.mark.parametrize(
    ("path", "body", "model"),
    [
        ("/embed", {"sentences": ["A man sings.", "x" * 600]}, "sts_embedding"),
        ("/similarity", {"pairs": [{"sentence_1": "A man sings.", "sentence_2": "x"}]}, "sts"),
        ("/acceptability", {"sentences": ["I am a boy."]}, "cola"),
    ],
)
async def test_many_requests_of_the_facade_are_few_of_triton_and_answered_as_alone(
    answer_by_length, configurations, path, body, model
):
    class Held(AsyncFakeTransport):
        async def infer(self, request):
            await all_here.wait()
            return await super().infer(request)

    all_here = asyncio.Event()

    async def ask(count: int) -> tuple[list[httpx.Response], list[int]]:
        all_here.clear()
        transport = Held(answer_by_length, configurations=configurations)
        app = create_app(ApiSettings(), lambda settings: AsyncTridentClient(transport=transport))
        async with app.router.lifespan_context(app):
            web = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=web, base_url="http://facade") as client:
                asked = [asyncio.create_task(client.post(path, json=body)) for _ in range(count)]
                async with asyncio.timeout(60):
                    while app.state.inference._admission.running < count:
                        await asyncio.sleep(0.001)
                await settle()
                all_here.set()
                answers = await asyncio.gather(*asked)
        assert {request.model for request in transport.requests} == {model}
        return answers, [len(next(iter(request.inputs.values()))) for request in transport.requests]

    (alone,), _ = await ask(1)
    together, sizes = await ask(20)
    each = len(next(iter(body.values())))
    assert sum(sizes) == 20 * each
    assert len(sizes) == 2 * MAX_CALLS
    assert [answer.status_code for answer in together] == [200] * 20
    assert all(answer.json() == alone.json() for answer in together)
    assert all(answer.headers.get("x-truncated") == alone.headers.get("x-truncated") for answer in together)


async def test_requests_that_are_traced_are_carried_alone(answer_by_length, configurations, monkeypatch):
    # Without a collector, to which sending would be tried for seconds.
    monkeypatch.setattr(tracing, "make_provider", lambda endpoint: TracerProvider())
    transport = AsyncFakeTransport(answer_by_length, configurations=configurations)
    settings = ApiSettings(otlp_endpoint="http://127.0.0.1:9")
    app = create_app(settings, lambda settings: AsyncTridentClient(transport=transport))
    async with app.router.lifespan_context(app):
        web = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=web, base_url="http://facade") as client:
            await asyncio.gather(*(client.post("/acceptability", json={"sentences": ["a"]}) for _ in range(8)))
    assert len(transport.requests) == 8
