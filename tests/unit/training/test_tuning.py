"""A search goes on where it was killed, is shared by processes, and says what it found."""

import json
import multiprocessing
import re
import sys
import time
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from fine_tuned import start
from optuna.trial import TrialState
from trident_training.cli import app
from trident_training.commands import steps
from trident_training.finetune import signs, tuning
from trident_training.finetune.run import Result
from trident_training.finetune.settings import Settings, SettingsError
from trident_training.finetune.space import Space
from trident_training.finetune.tuning import keep_best, open_study, search
from trident_training.finetune.tuning_report import write_report
from typer.testing import CliRunner

SPACE = Space((1e-4, 1e-2), (1e-5, 1e-2), (16, 32), 3)


def result(settings: Settings, value: float) -> Result:
    """Return a finished training that scored so much."""
    best = settings.output / "best"
    best.mkdir(parents=True)
    (best / "value").write_text(str(value))
    return Result(best, "f1", [{"f1": value, "loss": 1.0, "epoch": 1.0}], {}, None)


def run_search(output: Path, trials: int, train, storage: str | None = None, name: str = "study") -> optuna.Study:
    study = open_study(name, output, storage, {"data": "x"})
    search(study, trials, SPACE, Settings(output=output), train, lambda trial: None)
    return study


def test_every_choice_lies_in_the_space_and_the_best_is_kept(tmp_path):
    seen = []

    def train(settings, callbacks):
        seen.append(settings)
        return result(settings, settings.learning_rate)

    study = run_search(tmp_path, 8, train)
    assert len(seen) == len(study.trials) == 8
    assert all(1e-4 <= each.learning_rate <= 1e-2 and 1e-5 <= each.weight_decay <= 1e-2 for each in seen)
    assert all(each.batch_size in (16, 32) and 1 <= each.epochs <= 3 for each in seen)
    assert float((keep_best(study, tmp_path) / "value").read_text()) == max(each.learning_rate for each in seen)
    # Enough is enough.
    run_search(tmp_path, 8, train)
    assert len(seen) == 8
    run_search(tmp_path, 9, train)
    assert len(seen) == 9


def test_a_trial_that_fails_says_why_and_the_others_go_on(tmp_path):
    def train(settings, callbacks):
        if settings.batch_size == 16:
            raise RuntimeError("no memory")
        return result(settings, 0.5)

    states = {trial.state for trial in run_search(tmp_path, 10, train).trials}
    assert states == {TrialState.COMPLETE, TrialState.FAIL}
    failed = [trial for trial in run_search(tmp_path, 10, train).trials if trial.state is TrialState.FAIL]
    assert all(trial.user_attrs["failure"] == "RuntimeError: no memory" for trial in failed)


def test_an_interrupted_trial_is_gone_on_with_and_keeps_its_choice(tmp_path):
    seen = []

    def train(settings, callbacks):
        seen.append(settings)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return result(settings, 0.5)

    with pytest.raises(KeyboardInterrupt):
        run_search(tmp_path, 3, train)
    study = run_search(tmp_path, 3, train)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 3
    assert seen[2] == seen[1]
    assert len(seen) == 4


def test_a_study_begun_with_something_else_is_refused(tmp_path):
    open_study("study", tmp_path, None, {"data": "x", "seed": 1})
    with pytest.raises(SettingsError, match=r"begun with other settings: data was 'x' and is 'y'; seed was 1 and is 2"):
        open_study("study", tmp_path, None, {"data": "y", "seed": 2})


@pytest.mark.parametrize("content", ["no JSON\n", "no JSON\n{}\n", "[]\n", '{"op_code": 0}\n', '{"op_code": 4}\n'])
def test_a_log_that_is_no_studys_is_named(tmp_path, content):
    (tmp_path / "study.log").write_text(content)
    with pytest.raises(SettingsError, match=r"study\.log is no study's log: .*\. Remove it, or choose another"):
        open_study("study", tmp_path, None, {})


@pytest.mark.parametrize("space", [((1e-2, 1e-3), (1e-5, 1e-2)), ((0, 1e-3), (1e-5, 1e-2)), ((1e-3, 1e-2), (1e-5, 2))])
def test_a_space_that_is_none_is_refused(space):
    with pytest.raises(SettingsError, match="cannot be searched; 0 < from < to < 1 is accepted"):
        Space(*space)


def test_the_report_shows_every_trial_and_needs_no_network(tmp_path):
    values = iter((0.1, 0.7, 0.4, 0.6))
    study = run_search(tmp_path, 4, lambda settings, callbacks: result(settings, next(values)))
    write_report(study, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert page.count("Plotly.newPlot(") >= 3
    assert not re.search(r'<script[^>]* src="http', page)
    best = re.search(r"<tr class=best>(.*?)</tr>", page).group(1)
    assert "<td>1</td><td>complete</td><td>0.7000</td>" in best
    assert page.count("<td>complete</td>") == 4
    for picture in ("history", "importances", "parallel_coordinates"):
        assert (tmp_path / f"{picture}.png").stat().st_size > 5_000


def test_of_trials_that_all_failed_there_is_a_report_too(tmp_path):
    def train(settings, callbacks):
        raise RuntimeError("no memory")

    write_report(run_search(tmp_path, 2, train), tmp_path)
    assert "2 trials: 2 fail." in (tmp_path / "report.html").read_text()
    assert not list(tmp_path.glob("*.png"))


# Trials as short as these may answer everything alike, which is told by status 1.
COLLAPSED = "the model collapsed"


def command(checkpoint, data, output, trials, *options):
    fixed = ["--model", checkpoint, "--data", data, "--output", output, "--trials", trials, "--max-length", 24]
    return ["tune", "cola", *map(str, [*fixed, "--learning-rates", "1e-4", "5e-3", *options])]


@pytest.mark.slow
def test_the_command_reports_prunes_and_keeps_a_checkpoint_to_export(tiny_checkpoint, toy_data, tmp_path, monkeypatch):
    # Two more than run to their end in any case, of which one is enough here.
    monkeypatch.setattr(tuning, "STARTUP_TRIALS", 1)
    trials = 3
    sizes = ("--batch-sizes", 16, "--batch-sizes", 32, "--most-epochs", 2)
    arguments = command(tiny_checkpoint("bert"), toy_data, tmp_path, trials, *sizes)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0 or COLLAPSED in " ".join(done.output.split()), done.output
    study = open_study_of(tmp_path, "cola")
    states = [trial.state for trial in study.trials]
    assert len(states) == trials
    assert set(states) <= {TrialState.COMPLETE, TrialState.PRUNED}
    best = json.loads((tmp_path / "best" / "result.json").read_text())
    assert best["best_epoch"]["matthews_correlation"] == study.best_value
    page = (tmp_path / "report.html").read_text()
    assert f"{study.best_value:.4f}" in page
    assert "matthews correlation" in page
    # The next call finds enough trials, and says the same.
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == done.exit_code
    assert len(open_study_of(tmp_path, "cola").trials) == trials
    refused = CliRunner().invoke(app, [*arguments, "--seed", "5"])
    assert refused.exit_code == 1
    assert "seed was 0 and is 5" in refused.output


@pytest.mark.slow
def test_the_best_of_a_search_on_similarity_knows_its_threshold_and_languages(tiny_checkpoint, pairs, tmp_path):
    fixed = ["--model", tiny_checkpoint("bert"), "--data", pairs, "--output", tmp_path, "--trials", 2]
    options = ["--most-epochs", 1, "--batch-sizes", 32, "--max-length", 24, "--language", "en", "--metric", "pearson"]
    # Where several machines reach it.
    options += ["--storage", f"sqlite:///{tmp_path / 'study.db'}"]
    done = CliRunner().invoke(app, ["tune", "sts", *map(str, fixed + options)])
    assert done.exit_code == 0, done.output
    card = json.loads((tmp_path / "best" / "similarity.json").read_text())
    assert (card["kind"], card["languages"]) == ("bi-encoder", ["en"])
    assert 0 < card["threshold"] < 1
    best = optuna.load_study(study_name="sts", storage=f"sqlite:///{tmp_path / 'study.db'}").best_value
    # Half precision makes ties, and the card is of the checkpoint in float32.
    assert card["metrics"]["pearson"] == pytest.approx(best, abs=0.05)


def test_an_interrupted_search_has_its_report_too(tiny_checkpoint, toy_data, tmp_path, monkeypatch):
    monkeypatch.setattr(steps, "train", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
    done = CliRunner().invoke(app, command(tiny_checkpoint("bert"), toy_data, tmp_path, 8))
    assert done.exit_code == 130, done.output
    assert "1 trial: 1 running." in (tmp_path / "report.html").read_text()


def test_a_trial_that_collapsed_is_not_ticked_nor_is_it_as_the_best(tiny_checkpoint, toy_data, tmp_path, monkeypatch):
    def train(task, data, settings, choices, callbacks):
        return replace(result(settings, 0.0), collapsed="the model collapsed: it says one thing"), None

    monkeypatch.setattr(steps, "train", train)
    done = CliRunner().invoke(app, command(tiny_checkpoint("bert"), toy_data, tmp_path, 1))
    printed = " ".join(done.output.split())
    assert done.exit_code == 1
    for line in ("trial 0: 0", "best: trial 0, 0"):
        assert re.search(rf"✗ {line}\.0000, [^✗]*: the model collapsed: it says one thing", printed)
    assert "✓" not in printed


def open_study_of(output: Path, name: str) -> optuna.Study:
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(output / "study.log")))
    return optuna.load_study(study_name=name, storage=storage)


def wait_for(found, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.slow
def test_a_killed_search_continues_the_same_study(tiny_checkpoint, toy_data, tmp_path):
    arguments = command(tiny_checkpoint("bert"), toy_data, tmp_path, 3, "--save-steps", 2, "--most-epochs", 2)
    process = start(*arguments)
    try:
        wait_for(lambda: list(tmp_path.glob("trials/0001/run/checkpoint-*/trainer_state.json")))
    finally:
        process.kill()
        process.join()
    before = open_study_of(tmp_path, "cola").trials
    assert [trial.state for trial in before][:2] == [TrialState.COMPLETE, TrialState.RUNNING]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0 or COLLAPSED in " ".join(done.output.split()), done.output
    after = open_study_of(tmp_path, "cola").trials
    assert len(after) == 3
    assert not any(trial.state is TrialState.RUNNING for trial in after)
    assert after[0].value == before[0].value
    assert after[1].params == before[1].params


def search_of_one_process(output: Path, storage: str, together) -> None:
    """Search as one of several machines does, whose first trials run at the same time."""
    begun = []

    def train(settings, callbacks):
        if not begun:
            together.wait(120)
        begun.append(settings)
        return result(settings, settings.learning_rate)

    keep_best(run_search(output, 8, train, storage), output)


def test_two_processes_on_one_study_share_the_trials(storage, tmp_path):
    open_study("study", tmp_path / "none", storage, {"data": "x"})
    outputs = [tmp_path / "one", tmp_path / "two"]
    # Forked: what they need is imported, and nothing of it has threads here.
    context = multiprocessing.get_context("fork")
    together = context.Barrier(2)
    processes = [context.Process(target=search_of_one_process, args=(each, storage, together)) for each in outputs]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
    assert [process.exitcode for process in processes] == [0, 0]
    study = optuna.load_study(study_name="study", storage=storage)
    # Both may ask for the last one at the same time.
    assert 8 <= len(study.trials) <= 9
    ran = [{int(folder.name) for folder in (output / "trials").iterdir()} for output in outputs]
    assert not ran[0] & ran[1]
    assert ran[0] | ran[1] == {trial.number for trial in study.trials}
    assert all(ran), "one process did everything"
    assert any((output / "best").is_dir() for output in outputs)


def test_another_trial_takes_the_place_of_one_whose_host_died(storage, tmp_path, monkeypatch):
    for name, seconds in (("BETWEEN_SIGNS", 0.1), ("BETWEEN_LOOKS", 0.05), ("OF_SILENCE", 1.0)):
        monkeypatch.setattr(signs, f"SECONDS_{name}", seconds)
    ran = []

    def train(settings, callbacks):
        ran.append(settings)
        return result(settings, settings.learning_rate)

    # Begun on another host, as this one's folder does not have it.
    with signs.giving_signs(open_study("lost", tmp_path / "none", storage, {"data": "x"}).ask()):
        study = run_search(tmp_path, 2, train, storage, "lost")
        assert ([trial.state for trial in study.trials], len(ran)) == ([TrialState.RUNNING, TrialState.COMPLETE], 1)
    study = run_search(tmp_path, 2, train, storage, "lost")
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]
    assert len(ran) == 2


def test_several_may_begin_at_once_on_a_database_that_is_empty(tmp_path):
    context = multiprocessing.get_context("fork")
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    processes = [
        context.Process(target=open_study, args=("study", tmp_path / str(each), storage, {"data": "x"}))
        for each in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 4


def test_a_database_that_is_restarted_during_a_trial_costs_none(postgresql, tmp_path):
    def train(settings, callbacks):
        postgresql.restart()
        return result(settings, 0.5)

    study = open_study("restarted", tmp_path, postgresql.url, {"data": "x"})
    search(study, 3, SPACE, Settings(output=tmp_path), train, lambda trial: None)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 3


def test_a_database_that_cannot_be_reached_is_one_line(tmp_path):
    with pytest.raises(SettingsError, match=r"the storage cannot be used: .*unable to open database file"):
        open_study("study", tmp_path, f"sqlite:///{tmp_path}/none/study.db", {"data": "x"})


def test_a_database_without_its_driver_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SettingsError, match=r"pip install 'trident-nlp\[postgresql\]'"):
        open_study("study", tmp_path, "postgresql://host/database", {"data": "x"})
