"""The queue in front of Triton: bounded in length and in time, and free of those who went away."""

import asyncio
import inspect
import itertools
import json
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from trident_api import hangs, openai_endpoints
from trident_api.admission import Admission, Kind
from trident_api.app import create_app
from trident_api.settings import ApiSettings
from trident_api.throughput import ENOUGH_ENDED
from trident_api.work import GIANT_WORK, LARGE_WORK, kind_of
from trident_client import AsyncFakeTransport, AsyncTridentClient, OverloadedError, Retry, TransportError, contract

PASSAGE = {"passage": "I are a boy"}


class HeldTransport(AsyncFakeTransport):
    """Answers nothing until it is let go, and no more than ``most``; knows who waits and how many were cancelled."""

    def __init__(self, answer) -> None:
        super().__init__(answer)
        self.go = asyncio.Event()
        self.waiting = []
        self.cancelled = 0
        self.most = 1_000_000
        self.stuck = 0

    @property
    def held(self) -> int:
        return len(self.waiting)

    async def infer(self, request):
        self.waiting.append(request)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.waiting.remove(request)
        if len(self.requests) >= self.most:
            self.stuck += 1
            try:
                await asyncio.Event().wait()
            finally:
                self.stuck -= 1
        return await super().infer(request)


@pytest.fixture
def transport(answer_by_length) -> HeldTransport:
    return HeldTransport(answer_by_length)


@pytest.fixture
def app(transport, request):
    settings = getattr(request, "param", {"max_concurrent": 2, "max_waiting": 3})
    return create_app(
        ApiSettings(**{"max_queue_seconds": 60} | settings),
        lambda settings: AsyncTridentClient(transport=transport, retry=Retry(attempts=100, longest_wait=0.1)),
    )


@pytest.fixture
async def http(app) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
    ):
        yield client


async def until(condition) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


async def test_what_is_too_much_is_refused_at_once_and_the_rest_is_answered(http, transport):
    asked = [asyncio.create_task(http.post("/generate", json=PASSAGE)) for _ in range(9)]
    await until(lambda: sum(task.done() for task in asked) == 4)
    assert transport.held == 2
    refused = [task.result() for task in asked if task.done()]
    assert {answer.status_code for answer in refused} == {429}
    assert all(answer.headers["retry-after"] == "1" for answer in refused)
    assert refused[0].json()["detail"].startswith("2 requests are being answered and 3 wait")
    transport.go.set()
    assert sorted(answer.status_code for answer in await asyncio.gather(*asked)) == [200] * 5 + [429] * 4
    assert (await http.post("/generate", json=PASSAGE)).status_code == 200


@pytest.mark.parametrize("app", [{"max_concurrent": 1, "max_waiting": 0}], indirect=True)
async def test_while_the_queue_is_full_a_single_text_is_refused_before_its_body_is_looked_into(http, transport):
    broken = b'{"passage": "I are a boy"'
    assert (await http.post("/generate", content=broken)).status_code == 422
    running = asyncio.create_task(http.post("/generate", json=PASSAGE))
    await until(lambda: transport.held == 1)
    refused = await http.post("/generate", content=broken)
    assert (refused.status_code, refused.json()["detail"][:27]) == (429, "1 requests are being answer")
    assert (await http.post("/v1/embeddings", content=broken)).json()["error"]["type"] == "rate_limit_error"
    # What may be large, or has another line, is for its endpoint.
    for path, body in (
        ("/embed", broken + b', "b"' * 65),
        ("/qa", b'"' + b"b" * 4 * LARGE_WORK),
        ("/pred/file", broken),
    ):
        assert (await http.post(path, content=body)).status_code == 422
    counted = (await http.get("/metrics")).text
    assert 'trident_upstream_errors_total{kind="OverloadedError",task="unread"} 2.0\n' in counted
    assert 'trident_http_requests_total{method="POST",route="/v1/embeddings",status="429"} 1.0\n' in counted
    transport.go.set()
    assert (await running).status_code == 200


def test_no_error_is_answered_and_no_request_handled_by_a_thread(app):
    handlers = [*app.exception_handlers.values(), *(each.endpoint for each in openai_endpoints.router.routes)]
    assert len(handlers) > 4
    assert all(inspect.iscoroutinefunction(each) for each in handlers)


async def test_the_wait_is_told(http, transport):
    asked = [asyncio.create_task(http.post("/generate", json=PASSAGE)) for _ in range(3)]
    await until(lambda: transport.held == 2)
    await asyncio.sleep(0.2)
    transport.go.set()
    answers = await asyncio.gather(*asked)
    waits = sorted(float(answer.headers["x-queue-time"]) for answer in answers)
    assert waits[1] < 200 <= waits[2]
    assert all(float(answer.headers["x-inference-time"]) >= 0 for answer in answers)


async def test_health_and_metrics_do_not_wait(http, transport):
    asked = [asyncio.create_task(http.post("/generate", json=PASSAGE)) for _ in range(4)]
    await until(lambda: transport.held == 2)
    assert (await http.get("/health/ready")).status_code == 200
    assert "trident_queue_running 2.0\n" in (await http.get("/metrics")).text
    assert "trident_queue_waiting 2.0\n" in (await http.get("/metrics")).text
    transport.go.set()
    await asyncio.gather(*asked)


@pytest.mark.parametrize("app", [{"max_concurrent": 1, "deadline": 0.5}], indirect=True)
async def test_past_the_deadline_is_a_504_whether_it_waited_or_was_answered_slowly(http, transport):
    answers = await asyncio.gather(*(http.post("/generate", json=PASSAGE) for _ in range(3)))
    assert {answer.status_code for answer in answers} == {504}
    assert "within 0.5 s" in answers[0].json()["detail"]
    assert transport.held == 0
    transport.go.set()
    assert (await http.post("/generate", json=PASSAGE)).status_code == 200


async def request_and_leave(app, transport, held: int) -> list[dict]:
    """Send a request as a server would, and close the connection once ``held`` are with Triton."""
    leave, sent = asyncio.Event(), []
    messages = iter([{"type": "http.request", "body": b'{"passage": "a"}', "more_body": False}])

    async def receive():
        for message in messages:
            return message
        await leave.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/generate", "headers": [], "query_string": b""}
    task = asyncio.create_task(app(scope | {"raw_path": b"/generate", "root_path": ""}, receive, send))
    await until(lambda: transport.held == held)
    leave.set()
    await task
    return sent


@pytest.mark.parametrize("app", [{"max_concurrent": 1, "max_waiting": 0}], indirect=True)
async def test_a_client_that_goes_away_frees_its_turn(http, app, transport):
    for times in range(1, 4):
        assert await request_and_leave(app, transport, held=1) == []
        assert transport.cancelled == times
    transport.go.set()
    assert (await http.post("/generate", json=PASSAGE)).status_code == 200
    assert 'status="499"} 3.0' in (await http.get("/metrics")).text


async def test_a_client_that_goes_away_while_it_waits_frees_its_place(http, app, transport):
    running = [asyncio.create_task(http.post("/generate", json=PASSAGE)) for _ in range(2)]
    await until(lambda: transport.held == 2)
    for _ in range(5):
        await request_and_leave(app, transport, held=2)
    assert "trident_queue_waiting 0.0\n" in (await http.get("/metrics")).text
    transport.go.set()
    assert [answer.status_code for answer in await asyncio.gather(*running)] == [200, 200]


def upload() -> tuple[dict, Iterator[dict]]:
    """Return the scope and the messages of a file whose answer is streamed, as a server gives them to the app."""
    rows = [{"sentence1": f"x{index}", "sentence2": "y"} for index in range(3000)]
    form = httpx.Request("POST", "http://test", files={"file": ("a.json", json.dumps({"results": rows}))})
    scope = {"type": "http", "method": "POST", "path": "/pred/multi/", "query_string": b"", "root_path": ""}
    headers = [(name.lower(), value) for name, value in form.headers.raw]
    body = {"type": "http.request", "body": form.read(), "more_body": False}
    return scope | {"raw_path": b"/pred/multi/", "headers": headers}, iter([body])


@pytest.mark.parametrize("blocked", [True, False], ids=["while it is sent to", "while it waits"])
async def test_a_client_that_goes_away_from_a_streamed_answer_frees_its_turn(http, app, transport, blocked):
    scope, messages = upload()
    leave = asyncio.Event()
    if not blocked:
        transport.most = 3

    async def receive():
        for message in messages:
            return message
        await leave.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        if message["type"] == "http.response.body" and blocked:
            leave.set()
            await asyncio.Event().wait()

    transport.go.set()
    task = asyncio.create_task(app(scope, receive, send))
    if not blocked:
        await until(lambda: transport.stuck > 0)
        leave.set()
    await task

    async def turns() -> bool:
        return "trident_queue_running 0.0\n" in (await http.get("/metrics")).text

    async with asyncio.timeout(30):
        while not await turns():
            await asyncio.sleep(0.001)
    assert transport.held == transport.stuck == 0


@pytest.mark.parametrize("app", [{"max_concurrent": 1, "max_waiting": 0, "deadline": 1.0}], indirect=True)
async def test_a_client_that_takes_nothing_of_its_answer_frees_its_turn(http, app, transport):
    scope, messages = upload()
    blocked = asyncio.Event()

    async def receive():
        for message in messages:
            return message
        # It stays, and never reads on.
        await asyncio.Event().wait()

    async def send(message):
        if message["type"] == "http.response.body":
            blocked.set()
            await asyncio.Event().wait()

    transport.go.set()
    task = asyncio.create_task(app(scope, receive, send))
    await blocked.wait()
    assert (await http.post("/generate", json=PASSAGE)).status_code == 429
    async with asyncio.timeout(30):
        await task
    assert (await http.post("/generate", json=PASSAGE)).status_code == 200
    assert 'status="499"} 1.0' in (await http.get("/metrics")).text


async def test_a_client_that_goes_away_while_it_sends_is_no_failure(http, app):
    async def receive():
        return next(messages)

    async def send(message):
        raise AssertionError("nobody reads this")

    messages = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])
    scope = {"type": "http", "method": "POST", "path": "/generate", "headers": [], "query_string": b""}
    await app(scope, receive, send)
    assert 'status="499"} 1.0' in (await http.get("/metrics")).text


@pytest.mark.parametrize("app", [{"max_concurrent": 1, "max_queue_seconds": 0.05}], indirect=True)
async def test_who_waited_as_long_as_one_may_is_refused(http, transport):
    running = asyncio.create_task(http.post("/generate", json=PASSAGE))
    await until(lambda: transport.held == 1)
    refused = await http.post("/generate", json=PASSAGE)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert "within 0.05 s" in refused.json()["detail"]
    assert "trident_queue_waiting 0.0\n" in (await http.get("/metrics")).text
    transport.go.set()
    assert (await running).status_code == 200


async def test_turns_are_taken_in_the_order_of_arrival_and_survive_cancellation():
    admission = Admission(1, 10, 60, 60)
    order: list[int] = []

    async def take(number: int) -> None:
        async with admission.turn():
            order.append(number)

    async with admission.turn():
        waiting = [asyncio.create_task(take(number)) for number in range(5)]
        await until(lambda: admission.waiting == 5)
        waiting[1].cancel()
    waiting[3].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert order == [0, 2, 4]
    assert (admission.running, admission.waiting) == (0, 0)


@pytest.mark.parametrize("app", [{"max_concurrent": 64}], indirect=True)
async def test_one_giant_passage_at_a_time_is_with_triton_and_others_are_beside_it(http, transport):
    giant = {"question": "Who?", "context": "a" * 4 * (GIANT_WORK + 1)}
    # Many questions about long passages are no giant.
    long = {"questions": [{"question": "Who?", "context": "a" * GIANT_WORK}] * 8}
    asked = [asyncio.create_task(http.post("/qa", json=giant)) for _ in range(3)]
    await until(lambda: transport.held == 1)
    asked += [asyncio.create_task(http.post("/qa", json=each)) for each in ({"question": "Who?", "context": "b"}, long)]
    await until(lambda: transport.held >= 3)
    for _ in range(4):
        sizes = [len(each.inputs["CONTEXT"][0, 0]) for each in transport.waiting]
        assert sum(size > 4 * GIANT_WORK for size in sizes) == 1
        assert 1 in sizes
        assert GIANT_WORK in sizes
        await asyncio.sleep(0.01)
    transport.go.set()
    assert [each.status_code for each in await asyncio.gather(*asked)] == [200] * 5


@pytest.mark.parametrize("items", [["a" * 10_000] * 2048, [[7] * 256] * 2048], ids=["texts", "token ids"])
def test_a_list_is_no_giant_however_much_it_holds(items):
    assert kind_of("embed", items, 16.0 * GIANT_WORK) is Kind.LARGE


async def test_no_place_to_wait_means_that_only_running_requests_are_taken():
    admission = Admission(1, 0, 60, 60)
    async with admission.turn():
        with pytest.raises(OverloadedError):
            async with admission.turn():
                pass
    async with admission.turn() as waited:
        assert waited >= 0


@pytest.mark.parametrize("app", [{"max_concurrent": 1, "max_waiting": 0}], indirect=True)
async def test_who_is_refused_is_told_when_by_the_work_that_is_ahead(http, app, transport):
    throughput = app.state.inference._admission._lines[Kind.SMALL].throughput
    throughput.wanted(0.0)
    for second in range(ENOUGH_ENDED):
        throughput.wanted(second + 1)
        throughput.ended(1.0, second, second + 1, idle=False)
    assert throughput.rate == pytest.approx(1)
    running = asyncio.create_task(http.post("/generate", json=PASSAGE))
    await until(lambda: transport.held == 1)
    refused = [await http.post("/generate", json=PASSAGE) for _ in range(3)]
    assert [answer.status_code for answer in refused] == [429] * 3
    # Each after the one before: 25 bytes are 6.25 tokens at most, at one a second.
    assert [answer.headers["retry-after"] for answer in refused] == ["1", "8", "14"]
    assert "trident_queue_work_tokens 4.75\n" in (await http.get("/metrics")).text
    transport.go.set()
    assert (await running).status_code == 200


@pytest.mark.parametrize("app", [{"max_concurrent": 1, "max_waiting": 0}], indirect=True)
async def test_a_queue_that_is_full_because_triton_is_away_is_a_503(http, transport):
    back = asyncio.Event()
    answer = transport._answer

    def away(request):
        if not back.is_set():
            raise TransportError("nobody listens")
        return answer(request)

    transport._answer = away
    transport.go.set()
    client = http._transport.app.state.client
    waiting = asyncio.create_task(http.post("/generate", json=PASSAGE))
    await until(lambda: client.servers()[0].failures)
    refused = await http.post("/generate", json=PASSAGE)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["detail"].startswith("Triton is away")
    back.set()
    assert (await waiting).status_code == 200


@pytest.mark.parametrize("app", [{"deadline": 0.5}], indirect=True)
async def test_a_set_that_answers_nothing_in_time_is_named_by_readiness_until_it_answers(http, transport, monkeypatch):
    monkeypatch.setattr(hangs, "PATIENCE", 0.1)
    transport.go.set()
    assert (await http.post("/generate", json=PASSAGE)).status_code == 200
    transport.go.clear()
    assert (await http.post("/generate", json=PASSAGE)).status_code == 504
    for _ in range(3):
        ready = await http.get("/health/ready")
        assert (ready.status_code, ready.headers["retry-after"]) == (503, "1")
        assert ready.json()["detail"].startswith("The set 'cola' answers nothing, though Triton calls it ready")
    assert transport.held == 1, "one question at a time"
    assert transport.waiting[0].inputs["TEXT"].shape == (1, 1)
    assert (await http.get("/health/live")).status_code == 200
    transport.go.set()
    await until(lambda: not transport.held)
    assert (await http.get("/health/ready")).status_code == 200


@pytest.mark.parametrize("app", [{"deadline": 0.5, "max_concurrent": 1}], indirect=True)
async def test_a_set_that_answers_others_meanwhile_is_not_suspected(http, transport, app):
    inference = app.state.inference
    now = asyncio.get_running_loop().time()
    inference.hangs.answered("cola")
    inference.hangs.late("cola", contract.COLA.main, now - 30.0)
    assert (await http.get("/health/ready")).status_code == 200
    assert transport.held == 0


@pytest.mark.parametrize("app", [{"deadline": 1.0, "max_concurrent": 1, "max_waiting": 1}], indirect=True)
async def test_a_clock_that_is_set_back_an_hour_at_each_look_changes_nothing(http, transport, monkeypatch):
    looks = itertools.count()
    monkeypatch.setattr(time, "time", lambda: 1e9 - 3600.0 * next(looks))
    monkeypatch.setattr(time, "time_ns", lambda: int(1e9 * time.time()))
    asked = [asyncio.create_task(http.post("/generate", json=PASSAGE)) for _ in range(3)]
    await until(lambda: any(task.done() for task in asked))
    transport.go.set()
    answers = await asyncio.gather(*asked)
    assert sorted(answer.status_code for answer in answers) == [200, 200, 429]
    assert [each.headers["retry-after"] for each in answers if each.status_code == 429] == ["1"]
    times = [each.headers[name] for each in answers if each.is_success for name in ("x-queue-time", "x-inference-time")]
    assert all(0 <= float(each) < 1000 for each in times)
    transport.go.clear()
    began = time.monotonic()
    assert (await http.post("/generate", json=PASSAGE)).status_code == 504
    assert 1.0 <= time.monotonic() - began < 20
    assert (await http.get("/health/ready")).status_code == 503
    transport.go.set()
    assert (await http.post("/generate", json=PASSAGE)).status_code == 200
    assert (await http.get("/health/ready")).status_code == 200
