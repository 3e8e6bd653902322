"""A sweep that several processes share: each candidate is run by one, a killed one's again, and all have the table."""

import csv
import multiprocessing
import os
import re
import threading
import time
from pathlib import Path

import pytest
from fine_tuned import run, start
from trident_training.finetune import signs, sweep
from trident_training.finetune.run import Result
from trident_training.finetune.settings import SettingsError
from trident_training.finetune.sharing import share
from trident_training.finetune.sweep import Failed, markdown, write_reports
from trident_training.finetune.tuning import open_study

SCORES = {"small": 0.3, "base": 0.7, "large": 0.5, "huge": float("nan")}
SECONDS = 120
# What a process runs needs no thread of this one.
CONTEXT = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def signs_come_fast(monkeypatch):
    """Processes that are forked have these, too."""
    monkeypatch.setattr(signs, "SECONDS_BETWEEN_SIGNS", 0.1)
    monkeypatch.setattr(signs, "SECONDS_BETWEEN_LOOKS", 0.05)
    # Takes longer than all the rest.
    monkeypatch.setattr(sweep, "_plot", lambda entries, file: None)


@pytest.fixture
def shared(storage, tmp_path) -> tuple[str, str]:
    """A database and a study of the test's own."""
    return storage, tmp_path.name


@pytest.fixture
def on_sqlite(tmp_path) -> tuple[str, str]:
    return f"sqlite:///{tmp_path / 'study.db'}", "sweep"


@pytest.fixture
def begun(tmp_path) -> Path:
    """Each run writes its name and process here when it begins."""
    file = tmp_path / "begun"
    file.touch()
    return file


def trained(folder: Path, score: float) -> Result:
    best = folder / "best"
    best.mkdir(parents=True, exist_ok=True)
    (best / "score").write_text(str(score))
    epochs = [{"epoch": 1.0, "f1": score / 2, "loss": 0.9}, {"epoch": 2.0, "f1": score, "loss": 0.8}]
    return Result(best, "f1", epochs, {"seed": 0}, None)


def candidates(begun: Path, first=lambda name: None):
    """Return four that are trained and one that fails; ``first`` is called in each process before its first."""
    mine = []

    def make(name):
        def train(folder):
            with begun.open("a") as file:
                file.write(f"{name} {os.getpid()}\n")
            if not mine:
                mine.append(name)
                first(name)
            if name == "missing":
                raise SettingsError("there is no folder missing")
            return trained(folder, SCORES[name])

        return train

    return {name: make(name) for name in [*SCORES, "missing"]}


def take_part(shared, output, named, when_waiting=lambda: None, after=None):
    """Share a sweep as one process does, and write its reports; returns the entries and what was run here."""
    if after is not None:
        after.wait(SECONDS)
    ran, awaited = [], []

    def wait(names):
        awaited.extend(names)
        when_waiting()

    storage, name = shared
    study = open_study(name, output, storage, {"data": "x"})
    entries = share(study, named, output, ran.append, wait)
    write_reports(entries, output)
    return entries, [entry.name for entry in ran], awaited


def begin(*arguments):
    process = CONTEXT.Process(target=take_part, args=arguments, daemon=True)
    process.start()
    return process


def wait_for(found):
    deadline = time.monotonic() + SECONDS
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def check_table(output):
    table = (output / "sweep.md").read_text()
    assert "| base | 0.350 | **0.700** | 0.800 | best |" in table
    assert "| missing | | | | failed: SettingsError: there is no folder missing |" in table
    with (output / "sweep.csv").open() as file:
        assert [row["model"] for row in csv.DictReader(file)] == [name for name in SCORES for _ in range(2)]
    return table


def test_each_is_run_by_one_process_and_all_have_the_whole_table(shared, begun, tmp_path):
    together = CONTEXT.Barrier(3)
    outputs = [tmp_path / name for name in ("one", "two", "three")]
    named = candidates(begun, lambda name: together.wait(SECONDS))
    processes = [begin(shared, output, named) for output in outputs]
    wait_for(lambda: not any(process.is_alive() for process in processes) or together.broken)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    ran = dict(line.split() for line in begun.read_text().splitlines())
    assert sorted(line.split()[0] for line in begun.read_text().splitlines()) == sorted(named)
    assert set(ran.values()) == {str(process.pid) for process in processes}
    assert len({check_table(output) for output in outputs}) == 1
    # The host that trained it has the best model.
    (best,) = [output / "best" for output in outputs if (output / "best").is_dir()]
    assert (best / "score").read_text() == "0.7"


def test_what_a_killed_process_ran_another_host_runs_again(shared, begun, tmp_path, monkeypatch):
    monkeypatch.setattr(signs, "SECONDS_OF_SILENCE", 1.0)
    killed = begin(shared, tmp_path / "one", candidates(begun, lambda name: time.sleep(SECONDS)))
    wait_for(begun.read_text)
    killed.kill()
    killed.join()
    entries, ran, awaited = take_part(shared, tmp_path / "two", candidates(begun))
    lost = begun.read_text().split()[0]
    # It was waited for, in case it were alive, and begun anew.
    assert awaited == [lost]
    assert ran == [name for name in [*SCORES, "missing"] if name != lost] + [lost]
    assert not any(isinstance(entry, Failed) for entry in entries[:4])
    check_table(tmp_path / "two")


def test_what_a_killed_process_ran_the_same_command_goes_on_with_at_once(on_sqlite, begun, tmp_path):
    killed = begin(on_sqlite, tmp_path, candidates(begun, lambda name: time.sleep(SECONDS)))
    wait_for(begun.read_text)
    killed.kill()
    killed.join()
    _, ran, awaited = take_part(on_sqlite, tmp_path, candidates(begun))
    assert (ran, awaited) == ([*SCORES, "missing"], [])
    check_table(tmp_path)


def test_a_long_run_is_waited_for_and_its_result_is_everybodys(begun, on_sqlite, tmp_path, monkeypatch):
    monkeypatch.setattr(signs, "SECONDS_OF_SILENCE", 2.0)
    may_end = CONTEXT.Event()
    other = begin(on_sqlite, tmp_path / "one", candidates(begun, lambda name: may_end.wait(SECONDS)))
    wait_for(begun.read_text)
    waiting = threading.Timer(5, may_end.set)
    entries, ran, awaited = take_part(on_sqlite, tmp_path / "two", candidates(begun), waiting.start)
    other.join(SECONDS)
    assert other.exitcode == 0
    assert awaited == ["small"]
    assert ran == [*list(SCORES)[1:], "missing"]
    assert check_table(tmp_path / "one") == check_table(tmp_path / "two") == markdown(entries)


def test_a_process_that_was_taken_for_dead_takes_the_others_result(begun, on_sqlite, tmp_path, monkeypatch):
    monkeypatch.setattr(signs, "SECONDS_BETWEEN_SIGNS", SECONDS)
    monkeypatch.setattr(signs, "SECONDS_OF_SILENCE", 1.0)

    silent = CONTEXT.Event()
    other = begin(on_sqlite, tmp_path / "two", candidates(begun), lambda: None, silent)

    def fall_silent(name):
        silent.set()
        other.join(SECONDS)
        assert other.exitcode == 0

    entries, ran, _ = take_part(on_sqlite, tmp_path / "one", candidates(begun, fall_silent))
    assert ran == []
    assert [line.split()[0] for line in begun.read_text().splitlines()].count("small") == 2
    assert check_table(tmp_path / "one") == check_table(tmp_path / "two") == markdown(entries)


def test_what_failed_is_tried_again_by_the_next_command(begun, on_sqlite, tmp_path):
    take_part(on_sqlite, tmp_path, candidates(begun))
    entries, ran, _ = take_part(
        on_sqlite, tmp_path, candidates(begun) | {"missing": lambda folder: trained(folder, 0.1)}
    )
    assert ran == ["missing"]
    assert not any(isinstance(entry, Failed) for entry in entries)


def test_a_database_that_is_restarted_during_a_run_costs_nothing(postgresql, begun, tmp_path):
    study = open_study("restarted", tmp_path, postgresql.url, {"data": "x"})
    named = candidates(begun, lambda name: postgresql.restart())
    entries = share(study, named, tmp_path, lambda entry: None, pytest.fail)
    assert [entry.name for entry in entries] == list(named)
    assert len(study.trials) == len(named)


def test_other_candidates_are_another_sweep(toy_data, tmp_path):
    fixed = [
        "sweep",
        "cola",
        "--data",
        toy_data,
        "--output",
        tmp_path,
        "--storage",
        f"sqlite:///{tmp_path / 'study.db'}",
    ]
    run(*fixed, "--models", "/nowhere/one", code=1)
    printed = run(*fixed, "--models", "/nowhere/one,/nowhere/two", code=1)
    assert "study 'sweep-cola' was begun with other settings: candidates was {'/nowhere/one': {}}" in printed


@pytest.mark.parametrize("verb", ["sweep", "tune"])
def test_processes_that_train_as_one_are_refused(verb, toy_data, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    printed = run(verb, "cola", "--data", toy_data, "--output", tmp_path, code=1)
    assert f"2 processes cannot {verb} as one; start each by itself, with the same --storage" in printed


@pytest.mark.slow
def test_a_host_is_killed_and_the_other_one_has_the_sweep(tiny_checkpoint, toy_data, tmp_path, monkeypatch):
    monkeypatch.setattr(signs, "SECONDS_OF_SILENCE", 1.0)
    models = f"{tiny_checkpoint('distilbert')},{tiny_checkpoint('electra')}"
    options = ["--epochs", 1, "--learning-rate", "3e-3", "--batch-size", 32, "--max-length", 24, "--save-steps", 2]
    shared = [
        "sweep",
        "cola",
        "--models",
        models,
        "--data",
        toy_data,
        "--storage",
        f"sqlite:///{tmp_path / 'study.db'}",
    ]

    def on(host):
        return [*shared, "--output", tmp_path / host, *options]

    killed = start(*map(str, on("one")))
    try:
        wait_for(lambda: list(tmp_path.glob("one/electra/checkpoint-*/trainer_state.json")))
    finally:
        killed.kill()
        killed.join()
    # One epoch may answer everything alike, which is told by status 1.
    printed = run(*on("two"), code=(0, 1))
    assert "Others train" in printed
    assert not (tmp_path / "two" / "distilbert").exists()
    assert (tmp_path / "two" / "electra" / "best" / "model.safetensors").is_file()
    again = run(*on("one"), code=(0, 1))
    tables = [(tmp_path / host / "sweep.md").read_text() for host in ("one", "two")]
    assert tables[0] == tables[1]
    assert "failed" not in tables[0]
    best = re.search(r"[✓✗] best: \S*/(\w+),", printed)[1]
    for host, said in (("one", again), ("two", printed)):
        here = best == {"one": "distilbert", "two": "electra"}[host]
        assert (tmp_path / host / "best").is_dir() is here
        assert ("on the machine that ran it" in said) is not here
