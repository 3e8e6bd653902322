"""Training's part of the doctor: what it makes of a machine's facts."""

import re
from dataclasses import replace

import pytest
from trident_client.doctor import State
from trident_training.checkpoints.bundled import MADE
from trident_training.checkpoints.wheels import CacheSettings, identity
from trident_training.doctor import GIB, Machine, examine

GOOD = Machine(
    cores=16, quota=None, memory=64 * GIB, disk=99 * GIB, gpus=("NVIDIA H200",), torch=("2.13.0+cu130", True)
)


def found(machine, folder):
    return {each.subject: each for each in examine(machine, CacheSettings(cache_dir=folder))}


def test_nothing_is_wrong_with_a_good_machine(tmp_path):
    findings = found(GOOD, tmp_path)
    assert list(findings) == ["GPU", "processor", "memory", "disk", "encoders"]
    assert {each.state for each in findings.values()} == {State.OK}
    assert not any(each.advice for each in findings.values())


@pytest.mark.parametrize(
    ("subject", "facts", "state", "advice"),
    [
        ("GPU", {"torch": ("2.13.0+cpu", False)}, State.SLOW, r"torch==2\.13\.0 --index-url"),
        ("GPU", {"torch": ("2.13.0+cpu", False), "gpus": ()}, State.SLOW, "--lora-rank 8"),
        ("memory", {"memory": 2 * GIB}, State.SLOW, "Free 4 GiB"),
        ("memory", {"memory": 0}, State.MISSING, "Free 4 GiB"),
        ("disk", {"disk": GIB}, State.MISSING, "--output"),
    ],
)
def test_what_is_missing_or_slow_is_told_with_what_to_do(tmp_path, subject, facts, state, advice):
    finding = found(replace(GOOD, **facts), tmp_path)[subject]
    assert finding.state is state
    assert re.search(advice, finding.advice)


def test_a_limit_on_processor_time_is_told_with_the_threads_that_it_leaves(tmp_path):
    finding = found(replace(GOOD, quota=2.5), tmp_path)["processor"]
    assert finding.state is State.OK
    assert finding.found == "16 cores, of which a limit on processor time allows 2.5: trident-train computes on 2"


def test_encoders_that_were_fetched_are_told(tmp_path):
    assert found(GOOD, tmp_path)["encoders"].found.startswith("small; others are fetched into")
    (tmp_path / "encoders" / identity("base", MADE["base"])).mkdir(parents=True)
    assert found(GOOD, tmp_path)["encoders"].found.startswith("small, base; others")


def test_a_cache_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("trident_training.doctor.os.access", lambda path, mode: path != tmp_path)
    finding = found(GOOD, tmp_path / "there" / "not")["encoders"]
    assert finding.state is State.SLOW
    assert "TRIDENT_CACHE_DIR" in finding.advice


def test_this_machine_is_looked_at():
    assert {each.subject for each in examine()} >= {"GPU", "memory"}
