"""Parameters, and models whose load must fail."""

import os
import re

import pytest

from .client import row
from .repository import REFUSED, SERVED

pytestmark = pytest.mark.serving


def test_every_documented_parameter_is_taken_and_unknown_keys_are_ignored(client):
    assert "A_KEY_NOBODY_KNOWS" in SERVED["by_index"].config
    assert client.index()["by_index"]["state"] == "READY"


def test_inference_mode_is_on_by_default_and_can_be_switched_off(client):
    assert client.infer("by_order", {"first": row(1), "second__0": row(1)})["INFERENCE"].tolist() == [[1]]
    assert client.infer("by_index", {"a__0": row(1), "b__1": row(1)})["inference__1"].tolist() == [[0]]


def test_threads_are_those_configured_else_the_cores(backend_triton, isolated):
    log = backend_triton.log_file.read_text()
    threads = dict(re.findall(r"model '(\w+)': TorchScript on cpu, (\d+) threads inside an operation", log))
    cores = str(len(os.sched_getaffinity(0)))
    assert threads == {name: "3" if name == "by_index" else cores for name in SERVED}
    side_by_side = dict(re.findall(r"model '(\w+)': .* and (\d+) for operations side by side", log))
    if isolated:
        assert side_by_side == {name: "2" if name == "by_index" else "1" for name in SERVED}
    else:
        assert len(set(side_by_side.values())) == 1, "torch takes that number once for a whole process"


def test_models_run_where_they_are_told_and_two_batches_at_a_time_where_no_call_changes_them(backend_triton, isolated):
    log = backend_triton.log_file.read_text()
    where = dict(re.findall(r"model '(\w+)': TorchScript .* prepacked weights, (in .*?)\"?\n", log))
    if isolated:
        assert where == dict.fromkeys(SERVED, "in a process of its own")
    else:
        assert where == {name: f"in Triton's process, {1 if name == 'count' else 2} at a time" for name in SERVED}


def test_profiling_is_off_unless_asked_for(backend_triton):
    profiling = dict(re.findall(r"model '(\w+)': TorchScript .* profiling (\w+)", backend_triton.log_file.read_text()))
    assert profiling == {name: "on" if name == "by_index" else "off" for name in SERVED}


@pytest.mark.parametrize(("name", "says"), [(name, says) for name, (_, says) in REFUSED.items()])
def test_a_model_that_cannot_be_served_fails_its_load_and_says_why(client, name, says):
    entry = client.index()[name]
    assert entry["state"] == "UNAVAILABLE"
    assert says in entry["reason"]
    assert client.is_live()
