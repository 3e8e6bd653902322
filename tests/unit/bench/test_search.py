"""The search measures the default first, keeps what it found, goes on, and is not taken in by noise."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from trident_bench.cli import app
from trident_bench.errors import BenchError
from trident_bench.repository import configuration
from trident_bench.store import Store
from trident_bench.tuning.candidates import as_configured, candidates
from trident_bench.tuning.study import Search, Trial, score
from trident_bench.tuning.trials import TrialRunner
from trident_bench.tuning.verdict import Measurement, Verdict
from typer.testing import CliRunner

REPOSITORY = Path(__file__).resolve().parents[3] / "model_repository"
SPACE = {
    model: candidates(configuration(REPOSITORY, model), 8, 50_000_000, 64 * 10**9)
    for model in ("sts_tokenizer", "sts_encoder")
}
DEFAULTS = {model: as_configured(configuration(REPOSITORY, model), 8) for model in SPACE}


def run(output, trials, measure, bound=None, conditions=None):
    store = Store(output, Trial)
    with store.locked():
        found = Search(store, conditions or {"data": "x"}, SPACE, bound, slack=1.25)
        found.run(trials, measure, lambda trial: None)
        return found


def failed(found):
    return [each for each in found.trials if each.failure]


def by_instances(choices):
    """Measure two instances of the encoder as the best."""
    encoder = choices["sts_encoder"]
    return Measurement(100.0 + 50 * (encoder.instances == 2), 0.1)


def test_the_default_is_first_and_its_p99_sets_the_bound(tmp_path):
    seen = []

    def measure(choices):
        seen.append(choices)
        return by_instances(choices)

    study = run(tmp_path, 12, measure)
    assert seen[0] == DEFAULTS
    assert study.p99_bound == pytest.approx(0.125)
    assert len(study.finished) == len(seen) == 12
    assert study.choices(study.finished[0].parameters) == max(seen, key=lambda each: by_instances(each).throughput)


def test_nothing_is_measured_twice(tmp_path):
    seen = []

    def measure(choices):
        seen.append(repr(choices))
        return Measurement(1.0, 0.1)

    run(tmp_path, 20, measure)
    assert len(set(seen)) == len(seen) == 20


def test_a_bound_is_worth_more_than_any_throughput():
    assert score(Measurement(10.0, 0.1), 0.1) > score(Measurement(1000.0, 0.11), 0.1)
    assert score(Measurement(10.0, 0.2), 0.1) > score(Measurement(1000.0, 0.3), 0.1)


def test_an_interrupted_search_goes_on_with_the_choice_it_was_at(tmp_path):
    seen = []

    def measure(choices):
        seen.append(choices)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return by_instances(choices)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, 6, measure)
    study = run(tmp_path, 6, measure)
    assert seen[3] == seen[2]
    assert len(study.finished) == 6
    assert len(seen) == 7
    # Enough is enough.
    run(tmp_path, 6, measure)
    assert len(seen) == 7


def test_a_killed_search_goes_on_too(tmp_path):
    script = (
        "import os, signal, sys\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from test_search import run, by_instances\n"
        "def measure(choices):\n"
        "    measure.calls += 1\n"
        "    if measure.calls == 3: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return by_instances(choices)\n"
        "measure.calls = 0\n"
        "run(Path(sys.argv[1]), 5, measure)\n"
    )
    here = Path(__file__).parent
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path), str(here)], timeout=120)
    assert killed.returncode == -signal.SIGKILL
    seen = []

    def measure(choices):
        seen.append(choices)
        return by_instances(choices)

    assert len(run(tmp_path, 5, measure).finished) == 5
    assert len(seen) == 3


def test_a_configuration_that_does_not_start_is_told_of_and_the_others_go_on(tmp_path):
    seen = []

    def measure(choices):
        seen.append(choices)
        if len(seen) % 3 == 0:
            raise BenchError("no memory")
        return by_instances(choices)

    study = run(tmp_path, 9, measure)
    assert (len(study.finished), len(failed(study))) == (6, 3)
    assert {each.failure for each in failed(study)} == {"no memory"}


def test_a_default_that_does_not_start_is_the_end_and_is_tried_again(tmp_path):
    def fail(choices):
        raise BenchError("not built")

    for _ in range(2):
        with pytest.raises(BenchError, match="not built"):
            run(tmp_path, 3, fail)
    seen = []

    def measure(choices):
        seen.append(choices)
        return by_instances(choices)

    run(tmp_path, 3, measure)
    assert seen[0] == DEFAULTS
    assert len(seen) == 3


def test_what_is_tried_next_follows_from_what_was_measured_alone(tmp_path):
    seen = {"whole": [], "in parts": []}

    def measure(folder):
        return lambda choices: (seen[folder].append(choices), by_instances(choices))[1]

    run(tmp_path / "whole", 12, measure("whole"))
    for trials in (3, 9, 12):
        run(tmp_path / "in parts", trials, measure("in parts"))
    assert seen["in parts"] == seen["whole"]


def test_trials_of_other_conditions_are_kept_and_not_taken(tmp_path):
    seen = []

    def measure(choices):
        seen.append(choices)
        return by_instances(choices)

    run(tmp_path, 2, measure)
    assert len(run(tmp_path, 2, measure, conditions={"data": "y"}).finished) == 2
    assert len(seen) == 4
    run(tmp_path, 2, measure)
    assert len(seen) == 4


def test_two_searches_do_not_share_a_folder(tmp_path):
    with Store(tmp_path, Trial).locked(), pytest.raises(BenchError, match="Another process"):
        run(tmp_path, 1, by_instances)


def rounds(*ratios, p99=0.1):
    return [(Measurement(100.0, 0.1), Measurement(100.0 * ratio, p99)) for ratio in ratios]


@pytest.mark.parametrize(
    ("measured", "better"),
    [
        (rounds(1.10, 1.08, 1.12), True),
        # One round lost, however much the others won.
        (rounds(1.30, 0.99, 1.40), False),
        # Not worth a configuration of one's own.
        (rounds(1.01, 1.02, 1.01), False),
        (rounds(1.10, 1.08, 1.12, p99=0.3), False),
    ],
)
def test_only_what_wins_every_round_by_enough_is_better(measured, better):
    assert Verdict.of(measured, bound=0.2, least_gain=0.03).better is better


@pytest.fixture
def repository(tmp_path) -> Path:
    """The repository's configurations, with a word in place of each network."""
    for model in ("sts", "sts_tokenizer", "sts_encoder"):
        (tmp_path / "models" / model / "1").mkdir(parents=True)
        (tmp_path / "models" / model / "config.pbtxt").write_text((REPOSITORY / model / "config.pbtxt").read_text())
    (tmp_path / "models" / "sts_encoder" / "1" / "model.pt").write_text("weights")
    return tmp_path / "models"


def tune(repository, *further):
    folder = repository.parent / "out"
    arguments = ["tune", "sts", "--repository", str(repository), "--output", str(folder), "--name", "host"]
    return CliRunner().invoke(app, [*arguments, "--trials", "4", "--rounds", "3", *further]), folder


@pytest.mark.parametrize(("ratio", "written"), [(1.2, True), (1.0, False)])
def test_a_configuration_is_written_only_where_it_is_better(repository, monkeypatch, ratio, written):
    calls = []

    def measure(self, changed):
        calls.append(changed)
        return Measurement(100.0 + len(calls), 0.1)

    monkeypatch.setattr(TrialRunner, "measure", measure)
    monkeypatch.setattr(TrialRunner, "compare", lambda self, changed, name, count: rounds(*[ratio] * count))
    done, folder = tune(repository)
    assert done.exit_code == 0, done.output
    files = {file.parents[1].name: file.read_text() for file in repository.glob("*/configs/host.pbtxt")}
    assert set(files) == (set(calls[-1]) if written else set())
    assert all("trident-bench tune sts --name host" in text for text in files.values())
    assert ("trident-serve --config-name host" in done.output) is written
    assert ("Nothing was written" in done.output) is not written
    report = json.loads((folder / "results.json").read_text())
    assert report["better"] is written
    assert len(report["trials"]) == 4
    assert (folder / "tune.png").stat().st_size > 10_000


def test_an_interrupt_keeps_what_was_found(repository, monkeypatch):
    calls = []

    def measure(self, changed):
        calls.append(changed)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return Measurement(100.0, 0.1)

    monkeypatch.setattr(TrialRunner, "measure", measure)
    done, folder = tune(repository)
    assert done.exit_code == 130
    assert "goes on from here" in done.output
    assert len(json.loads((folder / "results.json").read_text())["trials"]) == 2


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["tune", "nothing"], "There is no ensemble 'nothing' (there are: sts)"),
        (["tune", "sts", "--name", "a/b"], "'a/b' cannot name a configuration"),
        (["profile", "nothing"], "There is no ensemble 'nothing' (there are: sts)"),
        (["profile", "sts", "--config-name", "nobody"], "has configs/nobody.pbtxt"),
        (["mixed", "nothing"], "There is no ensemble 'nothing' (there are: sts)"),
        (["mixed", "sts", "--url", "127.0.0.1:9"], "No Triton answers over grpc at 127.0.0.1:9"),
        (["profile", "sts", "--url", "127.0.0.1:9"], "No Triton answers over grpc at 127.0.0.1:9"),
        (["profile", "sts", "--url", "127.0.0.1:9", "--protocol", "http"], "No Triton answers over http"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(repository, tmp_path, arguments, reason):
    given = [*arguments, "--output", str(tmp_path / "out"), "--repository", str(repository)]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 1
    assert reason in done.output
    assert "Traceback" not in done.output


def test_a_missing_repository_is_said(tmp_path):
    done = CliRunner().invoke(app, ["tune", "sts", "--repository", str(tmp_path / "none")])
    assert done.exit_code == 1
    assert "There is no model repository" in done.output
