"""Rounds: everybody in turn, one failure harms nobody else, and Ctrl-C stops all and keeps what was measured."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from trident_bench.compare import rounds
from trident_bench.compare.rounds import Rounds
from trident_bench.compare.rows import SAME_IN_FEW_BITS, Group, Row, check_embeddings
from trident_bench.errors import MeasurementError
from trident_bench.generator.loop import Sample


class Fake:
    """A contender without processes that notes what happens to it."""

    def __init__(self, name: str, log: list[str], *, starts: bool = True) -> None:
        self.name, self.log, self.starts = name, log, starts
        self.facts: dict[str, Any] = {}

    def start(self) -> None:
        self.log.append(f"start {self.name}")
        if not self.starts:
            raise MeasurementError("no such\n  package")

    def stop(self) -> None:
        self.log.append(f"stop {self.name}")

    def pids(self) -> list[int]:
        return []


def row(name: str, *contenders: Fake, measure: Callable[[float], Sample] | None = None) -> Row:
    def measured(seconds: float) -> Sample:
        contenders[-1].log.append(f"measure {name}")
        return Sample(rate=seconds)

    return Row(name, name.upper(), Group.BARE, SimpleNamespace(contenders=contenders, measure=measure or measured))


def test_everybody_is_measured_once_a_round_in_turn() -> None:
    log: list[str] = []
    rows = [row("a", Fake("one", log)), row("b", Fake("two", log))]
    results = Rounds(rows, rounds=2, seconds=3.0).run()
    assert [each for each in log if each.startswith("measure")] == ["measure a", "measure b"] * 2
    assert [each.rate for each in results.measured("a")] == [3.0, 3.0]
    assert not results.interrupted
    assert {"stop one", "stop two"} <= set(log)


def test_a_contender_of_several_rows_is_started_once() -> None:
    log: list[str] = []
    one = Fake("one", log)
    Rounds([row("a", one), row("b", one)], rounds=1, seconds=1.0).run()
    assert log.count("start one") == 1


def test_one_that_cannot_start_is_reported_and_the_others_are_measured() -> None:
    log: list[str] = []
    lines: list[str] = []
    rows = [row("a", Fake("one", log, starts=False)), row("b", Fake("two", log))]
    results = Rounds(rows, rounds=2, seconds=1.0, log=lines.append).run()
    assert results.failures == {"one": "no such package"}
    assert results.failure(rows[0]) == "no such package"
    assert results.samples["a"] == [None, None]
    assert len(results.measured("b")) == 2
    assert "one is not measured: no such package" in lines


def test_one_that_fails_half_way_keeps_what_it_had() -> None:
    log: list[str] = []

    def fails_later(seconds: float) -> Sample:
        log.append("measure a")
        if log.count("measure a") == 2:
            raise MeasurementError("it died")
        return Sample(rate=7.0)

    rows = [row("a", Fake("one", log), measure=fails_later), row("b", Fake("two", log))]
    results = Rounds(rows, rounds=3, seconds=1.0).run()
    assert [each and each.rate for each in results.samples["a"]] == [7.0, None, None]
    assert len(results.measured("b")) == 3
    assert results.failures == {"one": "it died"}


def test_who_needs_a_failed_one_is_not_measured_either() -> None:
    log: list[str] = []
    triton, facade = Fake("triton", log, starts=False), Fake("facade", log)
    results = Rounds([row("a", triton, facade)], rounds=1, seconds=1.0).run()
    assert results.samples["a"] == [None]
    assert "measure a" not in log


def test_other_answers_than_the_plain_model_s_are_not_measured() -> None:
    log: list[str] = []
    one = Fake("one", log)
    check = lambda: check_embeddings([[0.0, 1.0]], np.array([[1.0, 0.0]], dtype=np.float32))  # noqa: E731
    results = Rounds([row("a", one)], rounds=1, seconds=1.0, checks={"one": check}).run()
    assert "differ from the plain model's: cosine 0.0000" in results.failures["one"]
    assert "measure a" not in log


def test_the_same_answers_pass_at_any_length() -> None:
    expected = np.array([[1.0, 0.0], [0.6, 0.8]], dtype=np.float32)
    assert check_embeddings(3 * expected, expected) == pytest.approx(1.0)
    with pytest.raises(MeasurementError, match=r"shape \(1, 2\)"):
        check_embeddings(expected[:1], expected)


def test_few_bits_keep_less_of_an_embedding() -> None:
    expected = np.array([[1.0, 0.0]], dtype=np.float32)
    # Cosine 0.9701.
    found = [[4.0, 1.0]]
    with pytest.raises(MeasurementError, match="differ"):
        check_embeddings(found, expected)
    assert check_embeddings(found, expected, SAME_IN_FEW_BITS) == pytest.approx(0.9701, abs=1e-4)


@pytest.mark.parametrize("answer", [float("nan"), 0.0])
def test_broken_answers_are_not_taken_for_the_same(answer: float) -> None:
    with pytest.raises(MeasurementError, match="differ"), np.errstate(invalid="ignore"):
        check_embeddings([[answer, answer]], np.array([[1.0, 0.0]], dtype=np.float32))


def test_ctrl_c_stops_everybody_and_keeps_what_was_measured() -> None:
    log: list[str] = []

    def interrupted(seconds: float) -> Sample:
        raise KeyboardInterrupt

    rows = [row("a", Fake("one", log)), row("b", Fake("two", log), measure=interrupted), row("c", Fake("three", log))]
    results = Rounds(rows, rounds=2, seconds=1.0).run()
    assert results.interrupted
    assert len(results.measured("a")) == 1
    assert results.measured("c") == []
    assert log[-3:] == ["stop three", "stop two", "stop one"]


def test_who_is_not_measured_is_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    monkeypatch.setattr(rounds, "pause", lambda pids: log.append(f"pause {[*pids]}"))
    monkeypatch.setattr(rounds, "resume", lambda pids: log.append(f"resume {[*pids]}"))
    monkeypatch.setattr(rounds, "memory", lambda pids: sum(pids))
    contenders = [Fake("one", log), Fake("two", log)]
    for pid, each in enumerate(contenders, start=1):
        monkeypatch.setattr(each, "pids", lambda pid=pid: [pid])
    results = Rounds([row("a", contenders[0]), row("b", *contenders)], rounds=1, seconds=1.0).run()
    after_start = log[log.index("start two") + 1 :]
    assert after_start[:2] == ["pause [1]", "pause [2]"]
    assert after_start[2:5] == ["resume [1]", "measure a", "pause [1]"]
    assert after_start[5:10] == ["resume [1]", "resume [2]", "measure b", "pause [1]", "pause [2]"]
    assert log[-4:] == ["resume [2]", "stop two", "resume [1]", "stop one"]
    assert results.memory == {"a": 1, "b": 3}


def test_a_failure_of_this_program_still_stops_everybody() -> None:
    log: list[str] = []

    def broken(seconds: float) -> Sample:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Rounds([row("a", Fake("one", log), measure=broken)], rounds=1, seconds=1.0).run()
    assert log[-1] == "stop one"
