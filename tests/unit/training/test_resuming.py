"""Runs that are killed where it matters, go on in a folder that is not whole, or meet another run or a full disk."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from safetensors import SafetensorError
from transformers import TrainerCallback, TrainerState
from trident_training.commands import steps
from trident_training.finetune import callbacks, run
from trident_training.finetune.callbacks import Patience
from trident_training.finetune.folder import alone
from trident_training.finetune.resuming import last_checkpoint, put_aside_the_unreadable
from trident_training.finetune.run import Result
from trident_training.finetune.settings import Settings, SettingsError
from trident_training.tasks.base import NoOptions
from trident_training.tasks.cola.task import TASK, AcceptabilityOptions

#: Nothing is learned at this rate, so that no epoch is better than the first.
NOTHING = 1e-12


class Killed(BaseException):
    """What nothing on the way takes for an error of its own."""


class KillAfter(TrainerCallback):
    """Ends a run as soon as the checkpoint of a step is whole."""

    def __init__(self, step):
        self._step = step

    def on_save(self, args, state, control, **kwargs):
        if state.global_step == self._step:
            raise Killed


@pytest.fixture(scope="module")
def data(toy_data, tmp_path_factory):
    """Few sentences: two steps an epoch."""
    folder = tmp_path_factory.mktemp("few")
    rows = (toy_data / "train.tsv").read_text().splitlines()
    (folder / "train.tsv").write_text("\n".join(rows[:48]))
    return TASK.load(AcceptabilityOptions(data=str(folder), validation_fraction=0.3))


@pytest.fixture
def train(tiny_checkpoint, data, tmp_path, monkeypatch):
    """Return what trains in one folder, or goes on there; it writes nothing into the folder that it runs in."""
    model, here = str(tiny_checkpoint("bert")), tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    def go(*callbacks, **chosen):
        settings = {"learning_rate": NOTHING, "batch_size": 17, "epochs": 6} | chosen
        settings = Settings(tmp_path / "run", model, max_length=24, **settings)
        return steps.train(TASK, data, settings, NoOptions(), callbacks)[0]

    yield go
    assert not list(here.iterdir())


def epochs(result):
    return [epoch["epoch"] for epoch in result.epochs]


def test_patience_does_not_begin_anew(train):
    with pytest.raises(Killed):
        train(KillAfter(4), patience=2)
    # The first epoch was the best, the second one was borne before the interruption.
    assert epochs(train(patience=2)) == [1, 2, 3]


def test_a_run_that_is_killed_before_its_result_is_not_trained_again(train, tmp_path, monkeypatch):
    def kill(*arguments):
        raise Killed

    monkeypatch.setattr(callbacks, "AVERAGE_STEPS", 1)
    with monkeypatch.context() as patched:
        patched.setattr(run, "plot_training", kill)
        with pytest.raises(Killed):
            train(patience=1, average=0.9)
    # The last checkpoint, and not that of the best epoch.
    assert last_checkpoint(tmp_path / "run").endswith("checkpoint-4")
    with monkeypatch.context() as patched:
        patched.setattr(run.Trainer, "train", kill)
        result = train(patience=1, average=0.9)
    assert epochs(result) == [1, 2, 2]
    assert result.epochs[-1]["averaged"]
    assert not list((tmp_path / "run").glob("checkpoint-*"))


def test_the_last_epoch_is_evaluated_where_the_run_was_killed_before(train):
    with pytest.raises(Killed):
        train(KillAfter(6), epochs=3, save_steps=3)
    assert epochs(train(epochs=3, save_steps=3)) == [1, 2, 3]


def test_patience_counts_evaluations_since_the_best():
    state = TrainerState()
    for value, wanted in ((0.1, False), (0.3, False), (0.3, False), (0.2, True), (0.4, False)):
        state.log_history.append({"eval_loss": 1.0, "eval_f1": value, "epoch": 1, "step": 1})
        state.log_history.append({"loss": 0.5, "step": 2})
        assert Patience(2, "f1").exhausted(state) is wanted


def test_two_runs_do_not_share_a_folder(train, tmp_path):
    with alone(tmp_path / "run"), pytest.raises(SettingsError, match="another process trains in"):
        train(epochs=1)
    assert epochs(train(epochs=1)) == [1]


def test_a_full_disk_is_told_in_a_line_and_another_error_as_it_is(train):
    class Fails(TrainerCallback):
        def __init__(self, error):
            self._error = error

        def on_step_end(self, args, state, control, **kwargs):
            raise self._error

    full = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    for error in (full, OSError(28, "No space left on device"), RuntimeError("PytorchStreamWriter failed writing")):
        with pytest.raises(SettingsError, match=r"no room left to write in .*, and the same command goes on"):
            train(Fails(error), epochs=1)
    with pytest.raises(RuntimeError, match="shapes"):
        train(Fails(RuntimeError("shapes do not match")), epochs=1)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(SettingsError, match=r"file/run cannot be written: Not a directory; choose another"),
        alone(tmp_path / "file" / "run"),
    ):
        pass


@pytest.mark.slow
def test_local_data_needs_no_home_that_can_be_written(tiny_checkpoint, toy_data, tmp_path):
    chosen = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRIDENT_", "XDG_"))}
    paths = ["--model", tiny_checkpoint("bert"), "--data", toy_data, "--output", tmp_path / "run"]
    command = [sys.executable, "-m", "trident_training", "finetune", "cola", *map(str, paths)]
    options = ["--epochs", "1", "--learning-rate", "3e-3", "--max-length", "24"]
    done = subprocess.run([*command, *options], env=chosen | {"HOME": "/proc/none"}, capture_output=True, text=True)
    # One epoch may answer everything alike, which is told by status 1.
    assert done.returncode in (0, 1), done.stderr
    assert (tmp_path / "run" / "best" / "model.safetensors").is_file()


@pytest.fixture(scope="module")
def two_checkpoints(tiny_checkpoint, data, tmp_path_factory):
    """A run that was killed when a second checkpoint was whole, and the first one not yet removed."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    model = str(tiny_checkpoint("bert"))
    chosen = {"learning_rate": NOTHING, "batch_size": 17, "epochs": 3, "average": 0.9}
    settings = Settings(folder, model, max_length=24, **chosen)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("transformers.trainer.rotate_checkpoints", lambda **options: None)
        patched.setattr(callbacks, "AVERAGE_STEPS", 1)
        with pytest.raises(Killed):
            steps.train(TASK, data, settings, NoOptions(), [KillAfter(4)])
    return settings


@pytest.mark.parametrize(
    "name",
    [
        "trainer_state.json",
        "model.safetensors",
        "optimizer.pt",
        "scheduler.pt",
        "rng_state.pth",
        "../average-4.safetensors",
    ],
)
@pytest.mark.parametrize("part", [0, 0.5])
def test_the_newest_checkpoint_that_can_be_read_is_gone_on_with(two_checkpoints, tmp_path, name, part):
    folder = shutil.copytree(two_checkpoints.output, tmp_path / "run")
    file = folder / "checkpoint-4" / name
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * part)])
    said = []
    put_aside_the_unreadable(folder, said.append)
    assert last_checkpoint(folder).endswith("checkpoint-2")
    assert len(said) == 1
    assert f"checkpoint-4 cannot be read: {file.name}: " in said[0]
    assert said[0].endswith("It is unreadable-4 now, and the run goes on at checkpoint-2.")
    assert (folder / "unreadable-4").is_dir()


def test_what_is_whole_is_left_where_it_is(two_checkpoints):
    put_aside_the_unreadable(two_checkpoints.output, pytest.fail)
    assert last_checkpoint(two_checkpoints.output).endswith("checkpoint-4")


def test_a_run_goes_on_without_what_it_cannot_read_and_says_so(two_checkpoints, data, tmp_path, capsys):
    folder = shutil.copytree(two_checkpoints.output, tmp_path / "run")
    for number in (2, 4):
        (folder / f"checkpoint-{number}" / "optimizer.pt").write_bytes(b"")
    result, _ = steps.train(TASK, data, replace(two_checkpoints, output=folder), NoOptions())
    said = " ".join(capsys.readouterr().out.split())
    assert said.count("optimizer.pt: File is not a zip file. It is unreadable-") == 2
    assert said.count("and the run goes on from the beginning.") == 2
    assert {epoch["epoch"] for epoch in result.epochs} == {1, 2, 3}
    assert not [file for file in folder.iterdir() if "-" in file.name]


@pytest.mark.parametrize(
    "content",
    [{}, {"primary": "f1", "epochs": [], "settings": {}, "collapsed": None}, {"primary": "f1", "epochs": [{}]}],
)
def test_a_result_that_is_none_is_named(tmp_path, content):
    (tmp_path / "result.json").write_text(json.dumps(content))
    with pytest.raises(SettingsError, match=r"result\.json (lacks|is no result: ).*\. Remove it"):
        Result.read(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", '{"primary": '])
def test_a_file_that_is_not_whole_is_named(tmp_path, content):
    (tmp_path / "settings.json").write_text(content)
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(SettingsError, match=r"settings\.json .* Remove it"):
        Settings(tmp_path).claim_output({})
    with pytest.raises(SettingsError, match=r"result\.json .* Remove it"):
        Result.read(tmp_path)
