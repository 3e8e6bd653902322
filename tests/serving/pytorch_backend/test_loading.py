"""Parameters, and models whose load must fail."""

import os
import re

import pytest

from .client import row
from .repository import SERVED, refused, served
from .sequence_models import SEQUENCES, STATES

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
    models = served(isolated)
    two = str(max(1, int(cores) // 2))
    fewer = {"by_index": "3", "shared": two, "kept_in_slots": two}
    assert {name: threads[name] for name in models} == {name: fewer.get(name, cores) for name in models}
    side_by_side = dict(re.findall(r"model '(\w+)': .* and (\d+) for operations side by side", log))
    if isolated:
        assert side_by_side == {name: "2" if name == "by_index" else "1" for name in models}
    else:
        assert len(set(side_by_side.values())) == 1, "torch takes that number once for a whole process"


def test_models_run_where_they_are_told_and_two_batches_at_a_time_where_no_call_changes_them(backend_triton, isolated):
    log = backend_triton.log_file.read_text()
    where = dict(re.findall(r"model '(\w+)': TorchScript .* prepacked weights, (in .*?)\"?\n", log))
    if isolated:
        assert where == dict.fromkeys(served(isolated), "in a process of its own")
    else:
        alone = {"count", *SEQUENCES, *STATES}
        assert where == {
            name: f"in Triton's process, {1 if name in alone else 2} at a time" for name in served(isolated)
        }


def test_profiling_is_off_unless_asked_for(backend_triton, isolated):
    profiling = dict(re.findall(r"model '(\w+)': TorchScript .* profiling (\w+)", backend_triton.log_file.read_text()))
    assert {name: profiling[name] for name in served(isolated)} == {
        name: "on" if name == "by_index" else "off" for name in served(isolated)
    }


def test_an_instance_says_how_it_is_executed_in_the_words_that_tritons_own_tests_look_for(backend_triton):
    log = backend_triton.log_file.read_text()
    for what, by_index, by_order in (
        ("Optimized execution", "disabled", "enabled"),
        ("Cache Cleaning", "enabled", "disabled"),
        ("Inference Mode", "disabled", "enabled"),
        ("cuDNN", "disabled", "enabled"),
    ):
        for name, state in (("by_index", by_index), ("by_order", by_order)):
            assert f"{what} is {state} for model instance '{name}'" in log
    # Each of its two instances says so.
    assert log.count("Weight sharing is enabled for model instance 'shared'") == 2
    assert log.count("Inference Mode is enabled for model instance 'shared'") == 2


def test_models_are_warmed_up_with_zeros_random_numbers_and_files(backend_triton, client, isolated):
    log = backend_triton.log_file.read_text()
    index = client.index()
    assert {index[name]["state"] for name in ("running", "text", "types")} == {"READY"}
    for sample in (
        "zeros and random numbers",
        "zero text",
        "random text",
        "text of a file",
        "a request of a sequence",
        *(["all slots"] if not isolated else []),
    ):
        assert f"is running warmup sample '{sample}'" in log
    assert "warmup error" not in log


def test_all_instances_of_a_process_share_one_module_where_they_are_told_to(backend_triton, client, isolated):
    reused = backend_triton.log_file.read_text().count("Reusing TorchScript model for instance 'shared'")
    assert reused == (0 if isolated else 1)
    answers = client.infer_together("shared", [{"X": row(n)} for n in range(8)])
    assert [answer["Y"].tolist() for answer in answers] == [[[n]] for n in range(8)]


def test_models_that_cannot_be_served_fail_their_load_and_say_why(client, isolated):
    index = client.index()
    found = {name: (index[name]["state"], index[name]["reason"]) for name in refused(isolated)}
    assert {name: state for name, (state, _) in found.items()} == dict.fromkeys(found, "UNAVAILABLE")
    assert [(name, found[name][1]) for name, (_, says) in refused(isolated).items() if says not in found[name][1]] == []
    assert client.is_live()
