"""Pictures are drawn into files, whatever a notebook says to the commands that it starts."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "start", ["trident_training.cli import share_cores as start", "trident_bench.cli import bench as start"]
)
def test_a_notebooks_backend_is_not_asked_for(start):
    code = f"from {start}; start(); import matplotlib; print(matplotlib.get_backend())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"MPLBACKEND": "module://not.installed.here"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.stdout.lower(), done.stderr) == ("agg\n", "")
