"""The backend's C under sanitizers, for a moment; `make sanitize` runs it longer."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
NOTHING_TO_COMPILE_WITH = 77


def run(script, *options):
    command = [sys.executable, script, "--requests", "3000", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    if done.returncode == NOTHING_TO_COMPILE_WITH:
        pytest.skip(done.stderr)
    return done


@pytest.mark.slow
def test_nothing_is_written_where_it_should_not_be_and_all_is_released_wherever_a_call_fails():
    done = run(ROOT / "scripts" / "sanitize.py")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    answered, refused, places = map(
        int, re.search(r"(\d+) answered, (\d+) refused; each of (\d+)", done.stdout).groups()
    )
    assert min(answered, refused) > 1000
    assert places > 100


@pytest.mark.slow
@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("Py_XDECREF(tensor);", "", "bytes were not freed"),
        ("PyBuffer_Release(&tensor.content);", "", "bytes were not freed"),
        ("new_batch(count)", "new_batch(count / 2)", "heap-buffer-overflow"),
        ("forget(reply->error);", "", "errors"),
        ("is_long(instance, requests[place]) ? new_batch(1) : NULL", "NULL", "in the way of short ones"),
    ],
    ids=["a reference", "a buffer", "too short", "an error", "joined with long ones"],
)
def test_what_is_wrong_there_is_found(right, wrong, said, tmp_path):
    # A checkout in small: the script, the harness, and sources of which one line is another.
    for folder in ("scripts", "tests/native"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    sources = shutil.copytree(ROOT / "server/trident_server/backends", tmp_path / "backends")
    text = (sources / "inprocess.c").read_text()
    assert text.count(right) == 1
    (sources / "inprocess.c").write_text(text.replace(right, wrong))
    done = run(tmp_path / "scripts" / "sanitize.py", "--sources", sources)
    assert done.returncode == 1
    assert said in done.stderr
