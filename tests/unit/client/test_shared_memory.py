"""Which regions of a server no client uses any more, and that none is left there."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from trident_client import BadInputError, ReadTimeoutError, Request, ServerError, TransportError, _shared_memory
from trident_client._shared_memory import Clean, Infer, Regions, Register, _new_name, orphaned
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


def test_only_regions_of_dead_clients_are_left_behind():
    code = "from trident_client._shared_memory import _new_name; print(_new_name())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    dead = done.stdout.strip()
    other_container = dead.replace(dead.split("-")[2], "1", 1)
    living = _new_name()
    assert str(os.getpid()) in living
    assert orphaned([dead, living, other_container, "somebody-elses", ""]) == [dead]


@pytest.fixture
def processes(tmp_path):
    """Makes processes as /proc shows them, in a namespace that is a file's inode; returns the namespace."""

    def make(host_id: int, own_id: int) -> int:
        folder = tmp_path / str(host_id)
        (folder / "ns").mkdir(parents=True)
        (folder / "ns" / "pid").touch()
        (folder / "status").write_text(f"Name:\tpython\nNSpid:\t{host_id}\t{own_id}\n")
        return os.stat(folder / "ns" / "pid").st_ino

    return make


def test_the_host_knows_which_clients_in_containers_run(processes, tmp_path, monkeypatch):
    namespace = processes(4000, 7)
    names = [f"trident-client-{namespace}-{own_id}-0a" for own_id in (7, 8)]
    names += [f"trident-client-{namespace + 1}-7-0a"]
    running = _shared_memory._running(tmp_path)
    monkeypatch.setattr(_shared_memory, "_running", lambda: running)
    monkeypatch.setattr(_shared_memory, "HOST_PROCESS_IDS", 1)
    assert orphaned(names) == [], "in a container nobody is seen of another one"
    monkeypatch.setattr(_shared_memory, "HOST_PROCESS_IDS", _shared_memory._process_ids())
    assert orphaned(names) == names[1:]


def test_where_somebody_elses_process_cannot_be_looked_at_nothing_is_taken_for_left(processes, tmp_path, monkeypatch):
    processes(4000, 7)

    def refuse(path, *arguments, real=os.stat, **options):
        if Path(path).parent.name == "ns":
            raise PermissionError
        return real(path, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", refuse)
        running = _shared_memory._running(tmp_path)
    assert not running.known
    assert (_shared_memory._process_ids(), os.getpid()) in _shared_memory._running().processes
    monkeypatch.setattr(_shared_memory, "_running", lambda: running)
    monkeypatch.setattr(_shared_memory, "HOST_PROCESS_IDS", _shared_memory._process_ids())
    assert orphaned(["trident-client-1-7-0a"]) == []


def test_regions_that_were_never_used_are_closed_without_a_word(monkeypatch):
    # What clients of other tests left.
    monkeypatch.setattr(_shared_memory, "ABANDONED", type(_shared_memory.ABANDONED)())
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
