"""A command shares the processor's cores with what runs beside it."""

import os
import subprocess
import sys

CODE = """
import sys
from trident_training import cli

@cli.app.command("probe")
def probe() -> None:
    assert "torch" not in sys.modules, "OpenMP is loaded before its environment is set"
    import torch
    print(torch.get_num_threads())

cli.main()
"""


def openmp(*arguments, **environment):
    """Return what OpenMP says of its environment as it is loaded, and how many threads torch computes on."""
    chosen = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", CODE, *arguments, "probe"],
        capture_output=True,
        text=True,
        env=chosen | {"OMP_DISPLAY_ENV": "verbose"} | environment,
    )
    assert done.returncode == 0, done.stderr
    said = (line.partition("=") for line in done.stderr.splitlines() if "=" in line)
    return {name.split()[-1]: value.strip(" '") for name, _, value in said} | {"torch": done.stdout.strip()}


def test_threads_wait_without_spinning_and_are_as_many_as_asked_for():
    found = openmp("--threads", "1")
    assert (found["OMP_WAIT_POLICY"], found["GOMP_SPINCOUNT"]) == ("PASSIVE", "0")
    assert (found["OMP_NUM_THREADS"], found["torch"]) == ("1", "1")


def test_a_way_to_wait_that_was_chosen_stays():
    found = openmp(OMP_WAIT_POLICY="active", OMP_NUM_THREADS="1")
    assert (found["OMP_WAIT_POLICY"], found["torch"]) == ("ACTIVE", "1")
    assert int(found["GOMP_SPINCOUNT"]) > 0
