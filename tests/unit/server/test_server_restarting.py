"""When a server that died is started again, and when it is given up."""

import pytest
from trident_server.errors import FileError, PortInUseError, ServerDiedError, ServerStartError
from trident_server.restarting import LONGEST_PAUSE_SECONDS, STEADY_SECONDS, Restarter


class Server:
    """Dies when it is told to; ``fails`` of its starts fail first."""

    NAME = "Triton"

    def __init__(self):
        self.dead = False
        self.fails = 0
        self.failure = ServerStartError("Triton exited with status 1 before it was ready.")
        self.calls = []

    def check(self):
        if self.dead:
            raise ServerDiedError("Triton was killed by SIGKILL.")

    def stop(self):
        self.calls.append("stop")

    def start(self):
        self.calls.append("start")
        if self.fails:
            self.fails -= 1
            raise self.failure
        self.dead = False


class Bench:
    def __init__(self, most):
        self.server = Server()
        self.said, self.pauses, self.now = [], [], 0.0
        self.restarter = Restarter(self.server, most, self.said.append, self.pauses.append, lambda: self.now)


def test_who_lives_is_left_alone():
    bench = Bench(5)
    bench.restarter.check()
    assert (bench.server.calls, bench.said) == ([], [])


def test_who_died_is_cleaned_up_and_started_again_and_why_is_said():
    bench = Bench(5)
    bench.server.dead = True
    bench.restarter.check()
    assert bench.server.calls == ["stop", "start"]
    assert bench.said == [
        "Triton was killed by SIGKILL.\nStarting it again in 1 s (1 of 5) ...",
        "Triton is ready again.",
    ]


def test_pauses_grow_up_to_a_limit_and_a_start_that_fails_counts():
    bench = Bench(8)
    bench.server.dead, bench.server.fails = True, 7
    bench.restarter.check()
    assert bench.pauses == [1, 2, 4, 8, 16, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS]
    assert not bench.server.dead


@pytest.mark.parametrize("failure", [PortInUseError("Port 8010 is in use."), FileError("No space left on device.")])
def test_a_start_that_another_program_prevents_is_tried_again_as_often_and_no_more(failure):
    bench = Bench(3)
    bench.server.dead, bench.server.fails, bench.server.failure = True, 2, failure
    bench.restarter.check()
    assert bench.pauses == [1, 2, 4]
    assert str(failure) in bench.said[1]
    assert not bench.server.dead
    bench = Bench(3)
    bench.server.dead, bench.server.fails, bench.server.failure = True, 9, failure
    with pytest.raises(type(failure)):
        bench.restarter.check()
    assert bench.pauses == [1, 2, 4]


def test_who_dies_too_often_is_given_up_with_the_last_reason():
    bench = Bench(2)
    bench.server.dead, bench.server.fails = True, 9
    with pytest.raises(ServerStartError, match="exited with status 1"):
        bench.restarter.check()
    assert bench.server.calls == ["stop", "start", "stop", "start", "stop"]
    bench = Bench(0)
    bench.server.dead = True
    with pytest.raises(ServerDiedError):
        bench.restarter.check()
    assert bench.pauses == []


@pytest.mark.parametrize(("served", "pauses"), [(STEADY_SECONDS - 1, [1, 2]), (STEADY_SECONDS + 1, [1, 1])])
def test_who_served_long_enough_begins_anew(served, pauses):
    bench = Bench(5)
    for _ in range(2):
        bench.server.dead = True
        bench.restarter.check()
        bench.now += served
    assert bench.pauses == pauses
