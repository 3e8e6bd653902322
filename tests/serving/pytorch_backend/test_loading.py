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


def test_threads_are_those_configured_else_the_cores(backend_triton):
    log = backend_triton.log_file.read_text()
    threads = "threads inside an operation"
    assert f"model 'by_index': TorchScript on cpu, 3 {threads} and 2 for operations side by side" in log
    cores = len(os.sched_getaffinity(0))
    assert f"model 'by_order': TorchScript on cpu, {cores} {threads} and 1 for operations side by side" in log


def test_profiling_is_off_unless_asked_for(backend_triton):
    profiling = dict(re.findall(r"model '(\w+)': TorchScript .* profiling (\w+)", backend_triton.log_file.read_text()))
    assert profiling == {name: "on" if name == "by_index" else "off" for name in SERVED}


@pytest.mark.parametrize(("name", "says"), [(name, says) for name, (_, says) in REFUSED.items()])
def test_a_model_that_cannot_be_served_fails_its_load_and_says_why(client, name, says):
    entry = client.index()[name]
    assert entry["state"] == "UNAVAILABLE"
    assert says in entry["reason"]
    assert client.is_live()
