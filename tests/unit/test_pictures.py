"""Pictures are drawn into files, whatever a notebook says to the commands that it starts."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "start",
    [
        "from types import SimpleNamespace; from trident_training.cli import share_cores as start;"
        " start(SimpleNamespace(invoked_subcommand='evaluate'))",
        "from trident_bench.cli import bench as start; start()",
    ],
    ids=["training", "bench"],
)
def test_a_notebooks_backend_is_not_asked_for(start):
    code = f"{start}; import matplotlib; print(matplotlib.get_backend())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"MPLBACKEND": "module://not.installed.here"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.stdout.lower(), done.stderr) == ("agg\n", "")
