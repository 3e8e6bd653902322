"""Which regions of a server belong to clients that do not run any more."""

import os
import subprocess
import sys

from trident_client._shared_memory import Regions, _new_name, left_behind


def test_only_regions_of_dead_clients_are_left_behind():
    code = "from trident_client._shared_memory import _new_name; print(_new_name())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    dead = done.stdout.strip()
    other_container = dead.replace(dead.split("-")[2], "1", 1)
    living = _new_name()
    assert str(os.getpid()) in living
    assert left_behind([dead, living, other_container, "somebody-elses", ""]) == [dead]


def test_regions_that_were_never_used_are_closed_without_a_word():
    assert list(Regions().closing()) == []
