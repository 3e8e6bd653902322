"""Admission control, before a Triton and in a time that are both simulated: the same in every run."""

import asyncio
import random
import selectors
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from trident_api.admission import ALWAYS_RUNNING, MOST_WORK, Admission, Kind, RefusedError
from trident_api.joining import Joiner
from trident_api.throughput import ENOUGH_ENDED
from trident_api.work import LARGE_WORK, work_of

#: Tokens that Triton computes a second, and those of a batch of short texts.
RATE, BATCH = 20_000.0, 768.0
SINGLE, LIST = 96.0, 32 * BATCH
#: Of a slower one, whose calls carry texts of this length.
SLOW_RATE, LONG_SINGLE = 5_000.0, 256.0
DEADLINE, MAX_WAIT = 30.0, 1.0


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Whose time passes at once, up to the next moment at which something is to be done."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(Selector(self))

    def time(self) -> float:
        return self.now


class Selector(selectors.SelectSelector):
    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__()
        self.loop = loop

    def select(self, timeout=None):
        assert timeout is not None, "nothing would ever happen again"
        self.loop.now += timeout
        return []


class SimulatedTriton:
    """Computes batches one after the other; a request keeps four of its there, and takes them along when it leaves."""

    def __init__(self) -> None:
        self.queue: deque[tuple[float, asyncio.Future[None]]] = deque()
        self.arrived = asyncio.Event()
        self.computing = asyncio.create_task(self.compute())
        #: Batches in the longest queue that there was.
        self.longest = 0

    async def compute(self) -> None:
        while True:
            while self.queue:
                work, done = self.queue.popleft()
                if not done.done():
                    await asyncio.sleep(work / RATE)
                if not done.done():
                    done.set_result(None)
            self.arrived.clear()
            await self.arrived.wait()

    async def infer(self, work: float) -> None:
        left = [BATCH] * int(work // BATCH) + ([work % BATCH] if work % BATCH else [])
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(self.carry(left))

    async def carry(self, left: list[float]) -> None:
        while left:
            done = asyncio.get_running_loop().create_future()
            self.queue.append((left.pop(), done))
            self.longest = max(self.longest, len(self.queue))
            self.arrived.set()
            await done


class JoinedTriton(SimulatedTriton):
    """A slower one, to which what comes together is carried together; each of two calls has half of the processors."""

    def __init__(self) -> None:
        super().__init__()
        self.joiner = Joiner(self.carry_together)

    async def carry_together(self, works: Sequence[float]) -> Sequence[float]:
        await asyncio.sleep(sum(works) / (SLOW_RATE / 2))
        return works

    async def infer(self, work: float) -> None:
        await self.joiner([work])


@dataclass
class Counts:
    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    retry_after: list[float] = field(default_factory=list)
    late: int = 0


async def ask(admission: Admission, triton: SimulatedTriton, work: float, counts: Counts) -> bool:
    """Ask once, as the facade does; say whether it was answered."""
    clock = asyncio.get_running_loop().time
    started = clock()
    try:
        async with (
            asyncio.timeout(DEADLINE),
            admission.turn(work, Kind.LARGE if work > LARGE_WORK else Kind.SMALL),
        ):
            await triton.infer(work)
        counts.answered.append(clock() - started)
    except RefusedError as refusal:
        counts.refused.append(clock() - started)
        if refusal.retry_after is not None:
            counts.retry_after.append(refusal.retry_after)
        return False
    except TimeoutError:
        counts.late += 1
        return False
    return True


def simulate(scenario, model=SimulatedTriton):
    async def run():
        triton = model()
        try:
            return await scenario(Admission(64, 256, MAX_WAIT, DEADLINE), triton)
        finally:
            triton.computing.cancel()

    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(run())


async def arrive(admission, triton, work, load, seconds, counts, seed=1, rate=RATE):
    """Let requests arrive at random, ``load`` times as much as Triton computes, and wait for the end of all."""
    rng = random.Random(seed)
    until = asyncio.get_running_loop().time() + seconds
    async with asyncio.TaskGroup() as group:
        while asyncio.get_running_loop().time() < until:
            group.create_task(ask(admission, triton, work, counts))
            await asyncio.sleep(rng.expovariate(load * rate / work))


@pytest.mark.parametrize(
    ("work", "seconds", "longest"),
    [(SINGLE, 5.0, MAX_WAIT + 1.0), (BATCH, 30.0, MAX_WAIT + 4.0), (LIST, 120.0, DEADLINE)],
    ids=["singles", "batches", "lists"],
)
def test_ten_times_the_load_takes_a_tenth_of_the_goodput_at_most(work, seconds, longest):
    counts = Counts()

    async def flood(admission, triton):
        await arrive(admission, triton, work, 10.0, seconds, counts)
        return triton.longest, admission.running, admission.waiting, admission.work

    longest_queue, *left = simulate(flood)
    assert left == [0, 0, 0.0]
    assert len(counts.answered) * work > 0.9 * RATE * seconds
    assert max(counts.answered) < longest
    assert counts.late <= 0.01 * len(counts.answered)
    # At once, but those who came before anything was known.
    assert np.percentile(counts.refused, 95) < 0.01 if work == LIST else max(counts.refused) <= MAX_WAIT
    assert longest_queue <= 64, "what a deadline could leave behind is little"


@pytest.mark.parametrize("load", [2.0, 10.0])
def test_what_is_carried_together_comes_in_bursts_and_yet_is_answered_or_refused_at_once(load):
    """Turns come by the thirty, every second and a half: longer than one may expect to wait."""
    unknown, known = Counts(), Counts()

    async def flood(admission, triton):
        await arrive(admission, triton, LONG_SINGLE, load, 10.0, unknown, rate=SLOW_RATE)
        since = asyncio.get_running_loop().time()
        await arrive(admission, triton, LONG_SINGLE, load, 60.0, known, seed=2, rate=SLOW_RATE)
        return asyncio.get_running_loop().time() - since

    seconds = simulate(flood, JoinedTriton)
    assert len(known.answered) * LONG_SINGLE > 0.95 * SLOW_RATE * seconds
    assert max(unknown.refused) < MAX_WAIT + 0.01
    assert np.percentile(known.refused, 99) < 0.01
    assert max(known.answered) < MAX_WAIT + 3 * MOST_WORK / SLOW_RATE
    assert not unknown.late
    assert not known.late


def test_all_processors_have_something_to_do_while_as_many_ask_at_once_as_there_are_turns():
    counts = Counts()

    async def client(admission, triton):
        while asyncio.get_running_loop().time() < 60.0:
            await ask(admission, triton, LONG_SINGLE, counts)

    async def scenario(admission, triton):
        async with asyncio.TaskGroup() as group:
            for _ in range(int(MOST_WORK / LONG_SINGLE)):
                group.create_task(client(admission, triton))
        return asyncio.get_running_loop().time()

    seconds = simulate(scenario, JoinedTriton)
    assert len(counts.answered) * LONG_SINGLE > 0.95 * SLOW_RATE * seconds


def test_sixty_four_lists_at_once_are_answered_in_turns_and_all_who_come_back_when_they_are_told_to_are():
    counts = Counts()

    async def client(admission, triton):
        while not await ask(admission, triton, LIST, counts):
            await asyncio.sleep(counts.retry_after[-1])

    async def scenario(admission, triton):
        async with asyncio.TaskGroup() as group:
            for _ in range(64):
                group.create_task(client(admission, triton))
        return asyncio.get_running_loop().time()

    seconds = simulate(scenario)
    assert len(counts.answered) == 64
    assert counts.late == 0
    assert max(counts.answered) < DEADLINE
    # The computing alone takes 79 s.
    assert seconds < 64 * LIST / RATE / 0.9
    assert len(counts.refused) < 2 * 64, "who comes back as told is rarely refused again"


def test_single_texts_are_answered_soon_while_lists_are_too_many():
    singles, lists = Counts(), Counts()

    async def flood(admission, triton):
        async with asyncio.TaskGroup() as group:
            group.create_task(arrive(admission, triton, LIST, 10.0, 60.0, lists))
            group.create_task(arrive(admission, triton, SINGLE, 0.05, 60.0, singles, seed=2))

    simulate(flood)
    assert not singles.refused
    assert not singles.late
    assert np.percentile(singles.answered, 99) < 1.0
    assert (len(lists.answered) * LIST + len(singles.answered) * SINGLE) > 0.9 * RATE * 60.0


def test_after_a_flood_it_is_as_before_within_five_seconds():
    during, after = Counts(), Counts()

    async def scenario(admission, triton):
        await arrive(admission, triton, SINGLE, 10.0, 3.0, during)
        await asyncio.sleep(5.0)
        await arrive(admission, triton, SINGLE, 0.5, 5.0, after)

    simulate(scenario)
    assert during.refused
    assert not after.refused
    assert max(after.answered) < 0.1


@pytest.mark.parametrize(("kind", "work"), [(Kind.SMALL, SINGLE), (Kind.LARGE, LIST)], ids=["singles", "lists"])
def test_a_rate_that_is_not_true_any_more_does_not_refuse_everybody(kind, work):
    during, after = Counts(), Counts()

    async def scenario(admission, triton):
        throughput = admission._lines[kind].throughput
        throughput.wanted(-100.0 * ENOUGH_ENDED)
        for number in range(-ENOUGH_ENDED, 0):
            throughput.wanted(100.0 * number + 100.0)
            throughput.ended(1.0, 100.0 * number, 100.0 * number + 100.0, idle=number == -1)
        assert throughput.rate < 0.1
        await arrive(admission, triton, work, 0.6, 30.0, during)
        await arrive(admission, triton, work, 0.6, 30.0, after)

    simulate(scenario)
    assert during.refused
    assert len(during.refused) < len(during.answered)
    assert not after.refused


def test_a_cancelled_wait_and_a_cancelled_turn_leave_nothing_behind():
    async def scenario(admission, triton):
        tasks = [asyncio.create_task(ask(admission, triton, LIST, Counts())) for _ in range(6)]
        await asyncio.sleep(0.1)
        assert (admission.running, admission.waiting) == (ALWAYS_RUNNING, 6 - ALWAYS_RUNNING)
        # One that waits, one that runs, and one that is called by the end of that and cancelled at the same moment.
        tasks[4].cancel()
        tasks[0].cancel()
        await asyncio.sleep(0)
        tasks[2].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return [task.cancelled() for task in tasks], admission.running, admission.waiting, admission.work

    assert simulate(scenario) == ([True, False, True, False, True, False], 0, 0, 0.0)


def test_work_is_counted_in_bytes_and_what_encoders_cut_off_is_not():
    assert work_of("cola", ["a" * 40]) == 12
    assert work_of("sts", [("a" * 40, "고양이" * 4)]) == 12 + 11
    assert work_of("embed", ["a" * 1_000_000] * 2) == 2 * 514
    assert work_of("qa", [("a" * 8, "b" * 400_000)]) == 4 + 100_002
    assert work_of("cola", ["\ud800"]) > 2
