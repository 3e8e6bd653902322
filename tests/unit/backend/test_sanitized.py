"""The backend's C under sanitizers, for a moment; `make sanitize` runs it longer."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
NOTHING_TO_COMPILE_WITH = 77
#: The first part that is compiled of a file, where it is not the operators.
PARTS = {"inprocess.c": "hosting", "delegate.c": "delegating"}


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
    runs = re.findall(r"(\d+) answered, (\d+) refused; each of (\d+)", done.stdout)
    # As a backend that hosts all models, and as one that leaves some to another library.
    assert len(runs) == 2
    for answered, refused, places in runs:
        assert min(int(answered), int(refused)) > 1000
        assert int(places) > 100
    assert int(re.search(r"(\d+) calls failed once for the other library", done.stdout)[1]) > 15
    # The operators, for each kind of processor; the last one has the layers in int8 as well.
    assert len(re.findall(r"300 of 300 batches right|not run: this processor", done.stdout)) == 3
    assert "300 of 300 layers right" in done.stdout or "no AVX" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "right", "wrong", "said"),
    [
        ("inprocess.c", "Py_XDECREF(tensor);", "", "bytes were not freed"),
        ("inprocess.c", "PyBuffer_Release(&tensor.content);", "", "bytes were not freed"),
        ("inprocess.c", "new_batch(count)", "new_batch(count / 2)", "heap-buffer-overflow"),
        ("inprocess.c", "forget(reply->error);", "", "errors"),
        (
            "inprocess.c",
            "is_long(instance, requests[place]) ? new_batch(1) : NULL",
            "NULL",
            "in the way of short ones",
        ),
        ("delegate.c", "forget(TRITONSERVER_MessageDelete(message));", "", "messages"),
        ("delegate.c", "dlclose(opened);", "", "is still loaded"),
        ("delegate.c", "(model, &hosted_mark));", "(model, NULL));", "are wrong"),
        (
            "delegate.c",
            "TRY(TRITONBACKEND_ModelState(model, &state));",
            "state = NULL; forget(TRITONBACKEND_ModelState(model, &state));",
            "AddressSanitizer",
        ),
        ("attention.c", "first + key < keys ?", "first + key < keys + 99 ?", "heap-buffer-overflow"),
        ("attention.c", "place += row * of->heads", "place += row", "batches right"),
        (
            "norms.c",
            "lane < left; lane++) value[lane] = from",
            "lane < LANES; lane++) value[lane] = from",
            "heap-buffer",
        ),
    ],
    ids=[
        "a reference",
        "a buffer",
        "too short",
        "an error",
        "joined with long ones",
        "a message",
        "a library",
        "a model taken for the other's",
        "a call that fails taken for the other's",
        "keys behind the last one",
        "another row's bias",
        "columns behind the last one",
    ],
)
def test_what_is_wrong_there_is_found(file, right, wrong, said, tmp_path):
    # A checkout in small: the script, the harness, and sources of which one line is another.
    for folder in ("scripts", "tests/native"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    sources = shutil.copytree(ROOT / "server/trident_server/backends", tmp_path / "backends")
    text = (sources / file).read_text()
    assert text.count(right) == 1
    (sources / file).write_text(text.replace(right, wrong))
    done = run(tmp_path / "scripts" / "sanitize.py", "--sources", sources, "--only", PARTS.get(file, "operators"))
    assert done.returncode == 1
    assert said in done.stderr + done.stdout
