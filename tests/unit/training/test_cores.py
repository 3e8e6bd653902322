"""A command shares the processor's cores with what runs beside it."""

import os
import subprocess
import sys

import pytest

CODE = """
import os
import sys
from pathlib import Path
from trident_server.backends import cores
from trident_training import cli

if "CGROUPS" in os.environ:
    # Read as the kernel's own would be.
    cores.cpu_quota.__defaults__ = (Path(os.environ["CGROUPS"]), Path(os.environ["CGROUPS"], "membership"))
    os.sched_getaffinity = lambda process: set(range(8))

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


@pytest.mark.parametrize(
    ("limit", "chosen", "expected"),
    [
        ("300000 100000", {}, 3),
        ("50000 100000", {}, 1),
        # More than there are cores: what OpenMP does of itself.
        ("900000 100000", {}, None),
        # Whoever chose a number of threads knows why.
        ("300000 100000", {"OMP_NUM_THREADS": "5"}, 5),
        ("50000 100000", {"--threads": "2"}, 2),
    ],
)
def test_a_limit_on_processor_time_is_one_on_threads(tmp_path, limit, chosen, expected):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "cpu.max").write_text(f"{limit}\n")
    (tmp_path / "membership").write_text("0::/inner\n")
    arguments = [each for name, value in chosen.items() if name.startswith("--") for each in (name, value)]
    environment = {name: value for name, value in chosen.items() if not name.startswith("--")}
    found = openmp(*arguments, CGROUPS=str(tmp_path), **environment)
    cores = len(os.sched_getaffinity(0))
    # torch takes no more of them than there are cores.
    assert int(found["OMP_NUM_THREADS"]) == (expected or cores)
    assert int(found["torch"]) <= min(expected or cores, cores)
