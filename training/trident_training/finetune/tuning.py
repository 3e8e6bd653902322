"""A search for hyper-parameters that can be interrupted, gone on with, and shared by several machines.

Optuna keeps the study; each trial is a fine-tuning in a folder of its own, which goes on where it was stopped.
"""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from trident_training.data.problems import one_line
from trident_training.finetune import signs
from trident_training.finetune.epochs import evaluations
from trident_training.finetune.folder import check_writable, in_turn, is_for_want_of_room
from trident_training.finetune.journal import StudyFile
from trident_training.finetune.run import BEST, Result
from trident_training.finetune.settings import REMOVE_IT, Settings, SettingsError
from trident_training.finetune.signs import Watch, giving_signs
from trident_training.finetune.space import Space

STUDY_FILE = "study.log"
TRIALS = "trials"
LOCK = "lock"
#: What a study was begun with, among its attributes.
BEGUN_WITH = "begun_with"
#: What is searched for the best of, among its attributes.
METRIC = "metric"
#: A trial's attribute: why its best epoch is a collapsed model, or None.
COLLAPSED = "collapsed"
#: A trial's attribute: why it failed; one without that was begun by a process that died.
FAILURE = "failure"
#: Trials that run to their end before any is judged by their median.
STARTUP_TRIALS = 4


#: Runs one fine-tuning with further callbacks, or goes on with it.
Train = Callable[[Settings, Sequence[TrainerCallback]], Result]


def open_study(name: str, output: Path, storage: str | None, begun_with: dict[str, Any]) -> optuna.Study:
    """Open a study, or begin it.

    Args:
        name: of the study.
        output: folder of this machine's trials, and of the study where no storage is given.
        storage: URL of a database that several machines reach; a file in ``output`` when None.
        begun_with: what must be the same for two trials to be compared.

    Raises:
        SettingsError: it was begun with something else, which is named; the storage cannot be reached or has no driver;
            the folder cannot be written, or a study's log there not be read.
    """
    check_writable(output)
    study = optuna.create_study(
        study_name=name,
        storage=_storage(output, storage),
        direction="maximize",
        load_if_exists=True,
        # No two processes may draw alike.
        sampler=optuna.samplers.TPESampler(multivariate=True, constant_liar=True),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS),
    )
    before = study.user_attrs.get(BEGUN_WITH)
    if before is None:
        study.set_user_attr(BEGUN_WITH, begun_with)
    elif before != begun_with:
        changed = [
            f"{key} was {before.get(key)!r} and is {begun_with.get(key)!r}"
            for key in sorted(set(before) | set(begun_with))
            if before.get(key) != begun_with.get(key)
        ]
        raise SettingsError(f"study '{name}' was begun with other settings: {'; '.join(changed)}. Begin another one.")
    return study


def search(
    study: optuna.Study,
    trials: int,
    space: Space,
    settings: Settings,
    train: Train,
    on_trial: Callable[[FrozenTrial], None],
) -> None:
    """Run trials until the study has so many, whoever ran them; those that were killed here are gone on with first.

    At the end a sign of life is waited for of those that others still run: another trial takes the place of a dead one.

    Args:
        study: from :func:`open_study`.
        trials: of all processes together.
        space: where to search.
        settings: of every trial; ``output`` is the folder that holds this machine's.
        train: runs one.
        on_trial: called with every trial that ended here.
    """
    watch = Watch(study)
    while True:
        with _next_trial(study, trials, settings.output) as trial:
            if trial is not None:
                # Unless this process was given up meanwhile.
                with suppress(UpdateFinishedTrialError), giving_signs(trial):
                    _run(study, trial, space, settings, train)
                on_trial(study.trials[trial.number])
                watch = Watch(study)
        if trial is None:
            if watch.give_up_the_silent():
                return
            time.sleep(signs.SECONDS_BETWEEN_LOOKS)


def _run(study: optuna.Study, trial: Trial, space: Space, settings: Settings, train: Train) -> None:
    folder = _folder(settings.output, trial.number)
    try:
        result = train(replace(_draw(trial, space, settings), output=folder / "run"), [_Reporter(trial)])
        study.set_user_attr(METRIC, result.primary)
        trial.set_user_attr(COLLAPSED, result.collapsed)
        study.tell(trial.number, result.best_epoch[result.primary])
    except optuna.TrialPruned:
        study.tell(trial.number, state=TrialState.PRUNED)
        for checkpoint in (folder / "run").glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
    # Whatever this choice trips over, others are still worth trying: but not where none can be written.
    except Exception as error:
        if is_for_want_of_room(error):
            raise
        trial.set_user_attr(FAILURE, f"{type(error).__name__}: {error}")
        study.tell(trial.number, state=TrialState.FAIL)


def keep_best(study: optuna.Study, output: Path) -> Path | None:
    """Copy the best trial's checkpoint to ``best/``; None where no trial was completed, or another machine has it."""
    if not any(trial.state is TrialState.COMPLETE for trial in study.trials):
        return None
    made = _folder(output, study.best_trial.number) / "run" / BEST
    if not made.is_dir():
        return None
    with in_turn(output):
        shutil.rmtree(output / BEST, ignore_errors=True)
        return Path(shutil.copytree(made, output / BEST))


def _draw(trial: Trial, space: Space, settings: Settings) -> Settings:
    return replace(
        settings,
        learning_rate=trial.suggest_float("learning_rate", *space.learning_rate, log=True),
        weight_decay=trial.suggest_float("weight_decay", *space.weight_decay, log=True),
        batch_size=trial.suggest_categorical("batch_size", list(space.batch_sizes)),
        epochs=trial.suggest_int("epochs", 1, space.most_epochs),
    )


class _Reporter(TrainerCallback):
    """Reports every evaluation to the study, and stops a trial that falls behind the others."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        primary = args.metric_for_best_model
        if primary is None:
            raise ValueError("the run names no metric to compare trials by")
        found = evaluations(state)
        known = set(self._trial.study.trials[self._trial.number].intermediate_values)
        for step, epoch in enumerate(found, 1):
            # A trial gone on with has reported some of them before.
            if step not in known:
                self._trial.report(epoch[primary], step)
        if self._trial.should_prune():
            raise optuna.TrialPruned


def _storage(output: Path, url: str | None, tries: int = 5) -> BaseStorage:
    if url is None:
        file = output / STUDY_FILE
        try:
            return JournalStorage(StudyFile(file))
        # Whatever Optuna makes of lines that it has not written.
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise SettingsError(f"{file} is no study's log: {one_line(error)}. {REMOVE_IT}") from error
    try:
        # A trial may take longer than a database keeps a connection that says nothing, or than the database lives.
        return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
    except ImportError as error:
        needed = "PostgreSQL's is brought by pip install 'trident-nlp[postgresql]'"
        raise SettingsError(f"the storage's driver is not installed: {needed}. ({error})") from error
    except SQLAlchemyError as error:
        # Of processes that begin together, all make the tables of an empty database, and one can.
        if tries and (isinstance(error, IntegrityError) or "already exists" in str(error)):
            time.sleep(0.2)
            return _storage(output, url, tries - 1)
        raise SettingsError(f"the storage cannot be used: {str(error).splitlines()[0]}") from error


def _folder(output: Path, number: int) -> Path:
    return output / TRIALS / f"{number:04d}"


@contextmanager
def _next_trial(study: optuna.Study, trials: int, output: Path) -> Iterator[Trial | None]:
    """Yield a trial of a killed process, or a new one, or None where there are enough; no other process can take it."""
    with killed_trial(study, output) as killed:
        if killed is not None or _begun(study) >= trials:
            yield killed
            return
    trial = study.ask()
    with held(output, trial.number):
        yield trial


def _begun(study: optuna.Study) -> int:
    """Return how many trials there are, without those whose process died."""
    lost = (each.state is TrialState.FAIL and FAILURE not in each.user_attrs for each in study.trials)
    return len(study.trials) - sum(lost)


@contextmanager
def killed_trial(study: optuna.Study, output: Path) -> Iterator[Trial | None]:
    """Yield a trial that a killed process ran in this folder, so that no other can take it; None without one."""
    for frozen in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        with _locked(_folder(output, frozen.number)) as mine:
            if mine and study.trials[frozen.number].state is TrialState.RUNNING:
                yield Trial(study, frozen._trial_id)
                return
    yield None


@contextmanager
def held(output: Path, number: int) -> Iterator[None]:
    """Hold a trial's folder, which is made."""
    _folder(output, number).mkdir(parents=True, exist_ok=True)
    with _locked(_folder(output, number)):
        yield


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold a folder's lock, which the kernel takes from a process that dies; yield False where another holds it."""
    if not folder.is_dir():
        yield False
        return
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
