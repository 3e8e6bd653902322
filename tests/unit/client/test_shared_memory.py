"""Which regions of a server no client uses any more, and that none is left there."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np
import pytest
from trident_client import BadInputError, NotReadyError, ReadTimeoutError, Request, ServerError, TransportError
from trident_client._shared_memory import HELD, Clean, Infer, Regions, Register, _new_name, orphaned
from trident_client._sync.driving import drive

REQUEST = Request("model", {"INPUT": np.zeros((64, 1024), dtype=np.float32)}, ("OUTPUT",))


class Server:
    """Keeps what it is told to register, and says nothing the first time."""

    def __init__(self, silence: BaseException):
        self.regions: set[str] = set()
        self._silence: BaseException | None = silence

    def do(self, step):
        if isinstance(step, Infer):
            return {"OUTPUT": np.zeros((64, 1), dtype=np.float32)}, {}
        if isinstance(step, Clean):
            self.regions -= set(orphaned(self.regions))
        elif isinstance(step, Register):
            self.regions.add(step.name)
            if self._silence:
                silence, self._silence = self._silence, None
                raise silence
        else:
            self.regions.remove(step.name)
        return None


MAKE = """
import os, sys, time
if "late" in sys.argv:
    # As on a busy machine, what was forked comes to letting go only after a while.
    os.register_at_fork(after_in_child=lambda: time.sleep(1))
from trident_client import _shared_memory
name = _shared_memory._new_name()
_shared_memory.HELD.hold(name)
if "fork" in sys.argv and not os.fork():
    # Lives on, and holds nothing of its parent's.
    time.sleep(60)
print(name, flush=True)
time.sleep(60)
"""


def eventually(look, wanted, seconds=10):
    """Return what is seen once it is what is wanted, or in the end."""
    deadline = time.monotonic() + seconds
    while (seen := look()) != wanted and time.monotonic() < deadline:
        time.sleep(0.01)
    return seen


@pytest.fixture
def make_client():
    """Starts clients that hold a region, and returns each with the region's name; ends them, and all of their own."""
    started = []

    def make(*arguments: str, command: Sequence[str] = ()) -> tuple[subprocess.Popen, str]:
        client = subprocess.Popen(
            [*command, sys.executable, "-c", MAKE, *arguments],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(client)
        return client, client.stdout.readline().strip()

    yield make
    for client in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(client.pid, signal.SIGKILL)
        client.wait()
        client.stdout.close()


@pytest.mark.parametrize("form", ["alone", "fork", "late fork"])
def test_only_regions_of_dead_clients_are_left_behind(make_client, form):
    client, theirs = make_client(*form.split())
    mine = _new_name()
    HELD.hold(mine)
    names = [theirs, mine, "somebody-elses", "", f"{theirs}x"]
    assert orphaned(names) == []
    client.kill()
    client.wait()
    # What it forked may not have come to letting go yet.
    assert eventually(lambda: orphaned(names), [theirs]) == [theirs]
    HELD.let_go(mine)
    assert orphaned(names) == [theirs, mine]


UNSHARE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


@pytest.mark.skipif(
    subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode != 0,
    reason="no namespace of process ids can be made here",
)
def test_a_container_sees_of_another_one_which_clients_run(make_client):
    """As in two containers with one /dev/shm: neither sees the other's processes."""
    client, name = make_client(command=UNSHARE)
    _, living = make_client(command=UNSHARE)
    look = "import sys; from trident_client._shared_memory import orphaned; print(*orphaned(sys.argv[1:]))"
    command = [*UNSHARE, sys.executable, "-c", look, name, living]

    def seen() -> list[str]:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()

    assert seen() == []
    assert name.split("-")[2] != living.split("-")[2]
    # Which takes along whom it started.
    client.kill()
    client.wait()
    assert eventually(seen, [name]) == [name]


def test_regions_that_were_never_used_are_closed_without_a_word():
    assert list(Regions().closing()) == []


@pytest.mark.parametrize("kind", [BadInputError, ServerError])
def test_an_output_that_is_larger_than_the_last_one_is_answered(kind):
    # Triton refuses what has too little room; a Python model's refusal is told as the server's own failure.
    def do(step):
        if isinstance(step, Infer) and step.placement and step.placement.outputs:
            raise kind("shared memory size specified with the request for output 'OUTPUT' (65536 bytes) is too small")
        return ({"OUTPUT": larger}, {}) if isinstance(step, Infer) else None

    regions, larger = Regions(), np.zeros((64, 512), dtype=np.float32)
    for _ in range(2):
        assert drive(regions.steps(REQUEST), do)["OUTPUT"].shape == (64, 512)


@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("kind", [BadInputError, NotReadyError, ServerError])
def test_a_server_that_was_restarted_unseen_is_handed_new_regions(kind, at_once):
    registered: set[str] = set()
    answer = {"OUTPUT": np.zeros((64, 1), dtype=np.float32)}, {}

    def do(step):
        if isinstance(step, Register):
            registered.add(step.name)
        if not isinstance(step, Infer):
            return None
        if step.placement.region not in registered:
            raise kind(f"Unable to find shared memory region: '{step.placement.region}'")
        return answer

    regions = Regions()
    # One request that runs while others are under way: as many regions are free afterwards.
    under_way = [regions.steps(REQUEST) for _ in range(at_once)]
    for steps in under_way:
        while not isinstance(step := next(steps), Infer):
            do(step)
    for steps in under_way:
        with pytest.raises(StopIteration):
            steps.send(answer)
    before = registered.copy()
    assert len(before) == at_once
    registered.clear()
    for _ in range(at_once + 1):
        assert drive(regions.steps(REQUEST), do)["OUTPUT"].shape == (64, 1)
    assert registered
    assert registered.isdisjoint(before)


@pytest.mark.parametrize(
    "silence", [ReadTimeoutError("late"), TransportError("broken"), asyncio.CancelledError(), KeyboardInterrupt()]
)
@pytest.mark.parametrize("next_request", [True, False])
def test_a_region_whose_registration_was_never_answered_is_unregistered(silence, next_request):
    server, regions = Server(silence), Regions()
    with pytest.raises(type(silence)):
        drive(regions.steps(REQUEST), server.do)
    (unanswered,) = server.regions
    if next_request:
        drive(regions.steps(REQUEST), server.do)
        assert unanswered not in server.regions
        assert len(server.regions) == 1
    for step in regions.closing():
        server.do(step)
    assert server.regions == set()
