"""Runs that are killed where it matters, go on in a folder that is not whole, or meet another run or a full disk."""

import os
import subprocess
import sys

import pytest
from safetensors import SafetensorError
from transformers import TrainerCallback, TrainerState
from trident_training.commands import steps
from trident_training.finetune import callbacks, run
from trident_training.finetune.callbacks import Patience
from trident_training.finetune.folder import alone
from trident_training.finetune.run import Result, last_checkpoint
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
def train(tiny_checkpoint, data, tmp_path):
    """Return what trains in one folder, or goes on there."""
    model = str(tiny_checkpoint("bert"))

    def go(*callbacks, **chosen):
        settings = {"learning_rate": NOTHING, "batch_size": 17, "epochs": 6} | chosen
        settings = Settings(tmp_path / "run", model, max_length=24, **settings)
        return steps.train(TASK, data, settings, NoOptions(), callbacks)[0]

    return go


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


@pytest.mark.parametrize("content", ["", "[]", '{"primary": '])
def test_a_file_that_is_not_whole_is_named(tmp_path, content):
    (tmp_path / "settings.json").write_text(content)
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(SettingsError, match=r"settings\.json .* Remove it"):
        Settings(tmp_path).claim_output({})
    with pytest.raises(SettingsError, match=r"result\.json .* Remove it"):
        Result.read(tmp_path)
